# SPDX-License-Identifier: GPL-2.0-or-later
"""What all system tests share: skipping loudly, labs that end, figures, the daemon's log on failure."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
import counts  # noqa: E402
import lab  # noqa: E402
from lab.balancer import Balancer  # noqa: E402
from lab.traffic import have_tools  # noqa: E402
from ruleset import BACKENDS, works  # noqa: E402

SCALE = float(os.environ.get("NFQB_SCALE", "1"))


@pytest.fixture(scope="session", autouse=True)
def usable_machine():
    """Skip, with the reason, where no lab can be built; fail where the build is missing."""
    reason = lab.unusable()
    if reason:
        pytest.skip(f"SYSTEM TESTS DID NOT RUN: {reason}")
    assert have_tools(), "the traffic tools are not built: make all tools"
    lab.remove_stale()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the daemon's log beside a failure, while its files are still there."""
    outcome = yield
    report = outcome.get_result()
    if call.when != "call" or not report.failed:
        return
    for value in item.funcargs.values():
        for process in getattr(getattr(value, "lab", value), "processes", []):
            if getattr(process, "name", None) == "daemon":  # a test may have processes of its own kind
                report.sections.append((f"log of {process}", process.log()[-8000:]))


@pytest.hookimpl(trylast=True)
def pytest_runtest_call():
    """After each test that passed, as its last assertion: no running daemon's counts have drifted."""
    for balancer in list(Balancer.made):
        if balancer.process and balancer.process.alive() and not balancer.counts_broken:
            counts.do_not_drift(balancer)


@pytest.fixture
def scale():
    """scale(6000): that number, smaller where NFQB_SCALE says so (emulated machines)"""
    return lambda number: max(int(number * SCALE), 1)


@pytest.fixture
def bare_lab():
    """An empty lab."""
    with lab.Lab() as made:
        yield made


class Worlds:
    """Makes worlds and ends them; `lab` shows the newest one's processes to the hook above."""

    def __init__(self):
        self.made = []

    @property
    def processes(self):
        return [p for world in self.made for p in world.lab.processes]

    def __call__(self, **options):
        self.made.append(lab.world(**options))
        return self.made[-1]

    def close(self):
        for world in self.made:
            world.close()


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of each backend of the rules script"""
    if not works(request.param):
        pytest.skip(f"backend {request.param} does not work in this kernel")
    return request.param


@pytest.fixture
def make_world():
    """make_world(links=3, clients=3, ...): lab.world(), ended with the test"""
    worlds = Worlds()
    yield worlds
    worlds.close()


@pytest.fixture
def figures(request):
    """figures(name=value, ...): print measured figures; append them to the file NFQB_FIGURES too"""

    def show(**values):
        line = request.node.name + ": " + ", ".join(f"{name} {value}" for name, value in values.items())
        print(line)
        if os.environ.get("NFQB_FIGURES"):
            with open(os.environ["NFQB_FIGURES"], "a", encoding="utf-8") as file:
                file.write(line + "\n")

    return show
