# SPDX-License-Identifier: GPL-2.0-or-later
"""
pytest plugin for the virtual machine: says at once how a test ended, with all it has to
say about a failure (the guest may not live to print a summary), ends a test that hangs,
and lets several pytest processes share the tests, a module at a time.

NFQB_SELECTED: file that names the tests to run (see there), in its order.
NFQB_OUTCOMES: file that gets "OUTCOME SECONDS TEST" lines. NFQB_CLAIMS: directory where
a process makes a file for the module that it takes. NFQB_TEST_LIMIT: seconds per test.
"""

import os
import signal

import pytest

OUTCOMES = os.environ["NFQB_OUTCOMES"]
CLAIMS = os.environ["NFQB_CLAIMS"]
TEST_LIMIT = int(os.environ.get("NFQB_TEST_LIMIT", "600"))
_mine = {}
_shown = set()


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """pytest's own reporter is loaded (other plugins want its options) and says nothing."""
    config.pluginmanager.unregister(name="terminalreporter")


def _wanted(line, item):
    start, _, part = line.partition(" ")
    return item.nodeid.startswith(start) and part in item.nodeid


def pytest_collection_modifyitems(items):
    """Keep what is selected; a line that selects nothing is a mistake."""
    if "NFQB_SELECTED" not in os.environ:
        return
    with open(os.environ["NFQB_SELECTED"], encoding="utf-8") as file:
        lines = [line.strip() for line in file if line[0] not in "#\n"]
    for line in lines:
        if not any(_wanted(line, item) for item in items):
            raise pytest.UsageError(f"tests/vm/selected: no test for {line}")
    position = {item: next((n for n, line in enumerate(lines) if _wanted(line, item)), None) for item in items}
    items[:] = sorted((item for item in items if position[item] is not None), key=position.get)


def _claim(module):
    """Is this module ours? The first process that asks gets it."""
    if module not in _mine:
        try:
            os.close(os.open(os.path.join(CLAIMS, module.replace("/", ":")), os.O_CREAT | os.O_EXCL))
            _mine[module] = True
        except FileExistsError:
            _mine[module] = False
    return _mine[module]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """True: somebody else runs it."""
    return None if _claim(item.location[0]) else True


def _too_long(*_):
    raise TimeoutError(f"the test takes longer than {TEST_LIMIT} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TEST_LIMIT)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown():
    signal.alarm(0)
    yield


def _reason(report):
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""


def _tell(outcome, report, name, details=""):
    duration = getattr(report, "duration", 0)
    with open(OUTCOMES, "a", encoding="utf-8") as file:
        file.write(f"{outcome} {duration:.1f} {name}\n")
    # one write: lines of two processes do not mix
    os.write(1, f"{outcome:8} {duration:6.1f} s  {name}{details}\n".encode())


def pytest_runtest_logreport(report):
    if report.failed:
        details = "\n" + report.longreprtext
        if report.nodeid not in _shown:
            details += "".join(f"\n--- {title} ---\n{text}" for title, text in report.sections)
        _shown.add(report.nodeid)
        _tell("FAILED", report, report.nodeid + ("" if report.when == "call" else f" ({report.when})"),
              details.replace("\n", "\n  | "))
    elif report.skipped:
        _tell("skipped", report, report.nodeid, ": " + _reason(report))
    elif report.when == "call":
        _tell("passed", report, report.nodeid)


def pytest_collectreport(report):
    if report.failed:
        _tell("FAILED", report, f"{report.nodeid} (collection)", ("\n" + str(report.longrepr)).replace("\n", "\n  | "))
