# SPDX-License-Identifier: GPL-2.0-or-later
"""lab/room.py: the kernel's bound on connections is put back, whoever ends in which order and how. On a file of the test's own."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from lab import paths, room
from lab.host import wait_until

ORIGINAL = 262144
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where the tests run in a shell's background
sys.path.insert(0, sys.argv[1])
from lab import room
with room.raised(int(sys.argv[2]), *sys.argv[3:]):
    print("raised", flush=True)
    sys.stdin.read()
"""


class Bound:
    """A value like the kernel's, and those who raise it."""

    def __init__(self, directory):
        self.places = [str(directory / "value"), str(directory / "remembered")]
        self.runs = []
        (directory / "value").write_text(f"{ORIGINAL}\n")

    def run(self, entries):
        """A program that raises it until its input ends."""
        run = subprocess.Popen([sys.executable, "-c", RUN, paths.ROOT, str(entries), *self.places], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.runs.append(run)
        assert run.stdout.readline() == "raised\n"
        return run

    def end(self, run):
        run.communicate(timeout=20)
        assert run.returncode == 0

    def state(self):
        return room.state(*self.places)

    def keeper(self, run):
        """The process id of a run's keeper"""
        with open(f"/proc/{run.pid}/task/{run.pid}/children", encoding="ascii") as file:
            return int(file.read())


@pytest.fixture
def bound(tmp_path):
    made = Bound(tmp_path)
    yield made
    for run in made.runs:
        with contextlib.suppress(ProcessLookupError):
            run.kill()
        run.communicate(timeout=20)
    wait_until(lambda: not made.state()[2], 20, "the keepers to end")


def test_one(bound):
    assert bound.state() == (ORIGINAL, ORIGINAL, False)
    run = bound.run(4_000_000)
    assert bound.state() == (4_000_000, ORIGINAL, True)
    bound.end(run)
    assert bound.state() == (ORIGINAL, ORIGINAL, False)


def test_what_is_larger_stays(bound):
    run = bound.run(1000)
    assert bound.state() == (ORIGINAL, ORIGINAL, True)
    bound.end(run)
    assert bound.state() == (ORIGINAL, ORIGINAL, False)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_last_one_puts_it_back(bound, order):
    runs = [bound.run(entries) for entries in (4_000_000, 3_000_000, 5_000_000)]
    for n in order:
        assert bound.state() == (5_000_000, ORIGINAL, True)
        bound.end(runs[n])
    assert bound.state() == (ORIGINAL, ORIGINAL, False)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_run_leaves_nothing(bound, how):
    other, run = bound.run(3_000_000), bound.run(4_000_000)
    run.send_signal(how)
    run.wait(20)
    assert bound.state() == (4_000_000, ORIGINAL, True), "the other still needs it"
    other.send_signal(how)
    wait_until(lambda: bound.state() == (ORIGINAL, ORIGINAL, False), 20, "the value to be put back")


def test_next_run_puts_back_what_a_killed_keeper_left(bound):
    run = bound.run(4_000_000)
    for process in (bound.keeper(run), run.pid):
        os.kill(process, signal.SIGKILL)
    wait_until(lambda: bound.state() == (4_000_000, ORIGINAL, False), 20, "nobody to have it any more")
    with room.raised(1000, *bound.places):
        assert bound.state() == (4_000_000, ORIGINAL, True)
    assert bound.state() == (ORIGINAL, ORIGINAL, False)


def test_bound_that_cannot_be_raised_is_an_error(bound, tmp_path):
    with pytest.raises(RuntimeError, match="cannot be raised"), room.raised(1000, str(tmp_path / "missing"), bound.places[1]):
        pass
    assert bound.state() == (ORIGINAL, ORIGINAL, False)
