# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of a file are one story: after one that failed the others say so, and wait for nothing."""

import pytest

_failed = {}  # file: the test that failed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    if outcome.get_result().failed:
        _failed.setdefault(item.path, item.name)


@pytest.fixture(autouse=True)
def story(request):
    """Fails when the story is broken."""
    if request.node.path in _failed:
        pytest.fail(f"not tried: {_failed[request.node.path]} failed", pytrace=False)
