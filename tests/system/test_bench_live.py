# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/live: does it count what it says, on little traffic? What the figures are is no test."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import types

import pytest

from lab import paths, room

sys.path.insert(0, os.path.join(paths.ROOT, "bench"))
import live_lab  # noqa: E402

LIVE = os.path.join(paths.ROOT, "bench", "live")
CONTENDERS = ["none", "nth-nft", "mwan3", "bare", "wrr"]
MEASURES = ["udp-1", "udp-2", "tcp-1", "connect", "connect-warm", "cpu", "packets-256", "memory"]
QUEUED = ("bare", "wrr")


def live(*options):
    return subprocess.run([LIVE, *map(str, options)], capture_output=True, text=True, timeout=300, check=False)


@contextlib.contextmanager
def room_is_put_back():
    """The kernel's bound on connections is what it was, or still raised for somebody else on this machine."""
    _, before, _ = room.state()
    yield
    now, original, raised = room.state()
    assert original == before
    assert now == before or raised, "put back by the last run"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What --json keeps of a small run, and what was printed."""
    path = tmp_path_factory.mktemp("live") / "results.json"
    with room_is_put_back():
        ran = live("--rounds", 1, "--seconds", 0.1, "--only", ",".join(CONTENDERS), "--measure", ",".join(MEASURES),
                   "--tracked", "", "--standing", 20000, "--json", path)
    assert path.exists(), ran.stderr
    return json.loads(path.read_text()) | {"printed": ran.stdout, "path": path}


def of(kept, measure):
    return {r["contender"]: r for r in kept["results"] if r["measure"] == measure and r["contender"] != "sender"}


def changed(kept, tmp_path, measure, contender, **values):
    """The report of these results with one sample changed."""
    results = [r | values if (r["measure"], r["contender"]) == (measure, contender) else r for r in kept["results"]]
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({"options": kept["options"], "results": results}))
    return live("--from", path)


def test_everything_is_measured(kept):
    for measure in MEASURES:
        assert sorted(of(kept, measure)) == sorted(CONTENDERS if measure != "memory" else ["wrr"]), measure


@pytest.mark.parametrize("measure", ["udp-1", "udp-2", "cpu"])
def test_every_flow_is_accounted_for(kept, measure):
    for name, r in of(kept, measure).items():
        assert r["offered"] == r["sent"] > 100, name
        assert r["offered"] == r["arrived"] + r["lost"], name
        assert r["arrived"] == r["link1"] + r["link2"], name
        if name in QUEUED:
            assert r["offered"] == r["decided"] + r["fallback"] + r["lost"], name
            assert r["lost"] == 0, name
        else:
            assert r["decided"] == r["fallback"] == 0, name


def test_events_are_built_only_for_who_listens():
    options = types.SimpleNamespace(nfqlb=None)
    with contextlib.ExitStack() as stack:
        labs = {name: stack.enter_context(contextlib.closing(live_lab.build(name, options))) for name in ("bare", "wrr", "least-load")}
        built = {name: lab.world.router.sh(f"cat {live_lab.EVENTS}").strip() for name, lab in labs.items()}
    assert built == {"bare": "0", "wrr": "0", "least-load": "1"}


def test_contenders_share_as_they_should(kept):
    found = of(kept, "udp-1")
    assert found["none"]["link2"] == 0
    assert abs(found["nth-nft"]["link1"] - found["nth-nft"]["link2"]) <= 1
    for name in ("mwan3", *QUEUED):
        assert 0.4 < found[name]["link1"] / found[name]["arrived"] < 0.6, name


def test_userspace_is_asked_once_per_connection(kept):
    for name, r in of(kept, "tcp-1").items():
        assert r["established"] > 20 and r["failed"] == 0, name
        assert r["syn"] >= r["established"], name
        if name in QUEUED:
            assert r["established"] <= r["decided"] + r["fallback"] <= r["syn"], name
    for name, r in of(kept, "packets-256").items():
        assert r["arrived"] == r["offered"] > 256, name
        if name in QUEUED:
            assert r["decided"] + r["fallback"] == 256, "of established flows only the first packet"


def test_report_can_be_printed_again(kept):
    again = live("--from", kept["path"])
    assert again.stdout == kept["printed"]
    for row in ("offered / decided", "per new flow", "idle (MiB)"):
        assert row in again.stdout
    assert "udp-1: wrr, decided in userspace, against bare: at least 0.97" in again.stdout


def test_load_that_was_not_reached_is_an_error(kept, tmp_path):
    ran = changed(kept, tmp_path, "udp-2", "wrr", offered=15000, decided=10000, fallback=5000, arrived=15000, lost=0)
    assert "ERROR round 1, udp-2 of wrr: load not reached, 15000 offered, 10000 decided" in ran.stdout
    assert ran.returncode == 2


def test_loss_is_missed_goal(kept, tmp_path):
    ran = changed(kept, tmp_path, "udp-1", "wrr", offered=15000, decided=10000, fallback=4990, arrived=14990, lost=10)
    line = next(line for line in ran.stdout.splitlines() if line.startswith("udp-1: wrr, lost of 15000 flows: 0"))
    assert line.split()[-2:] == ["10", "MISSED"]
    assert ran.returncode != 0


def test_flows_that_nobody_counted_are_an_error(kept, tmp_path):
    ran = changed(kept, tmp_path, "udp-1", "wrr", offered=15000, decided=10000, fallback=4990, arrived=15000, lost=0)
    assert "ERROR round 1, udp-1 of wrr: 15000 offered, 10000 decided, 4990 left to the fallback, but 0 lost" in ran.stdout
    assert ran.returncode == 2


def test_quick_has_bounds(kept, tmp_path):
    slow = of(kept, "udp-1")["wrr"]["used"] * 10
    ran = changed(kept | {"options": kept["options"] | {"quick": True}}, tmp_path, "udp-1", "wrr", used=slow)
    line = next(line for line in ran.stdout.splitlines() if "decided per second of userspace, against bare: at least" in line)
    assert line.endswith("MISSED")
    assert ran.returncode != 0


def profiled(text):
    """{(processor, row): {contender: microseconds per flow}} of what bench/live-profile prints"""
    found = {}
    for line in text.splitlines():
        if line.startswith("processor "):
            processor, names = line.split(",")[0], line.split("flow")[1].split()
        elif line:
            row = line.split()
            found[processor, " ".join(row[:-len(names)])] = dict(zip(names, map(float, row[-len(names):])))
    return found


@pytest.mark.skipif(not shutil.which("perf"), reason="no perf: scripts/install-deps --bench")
def test_profile_tells_queue_from_kernel():
    with room_is_put_back():
        ran = subprocess.run([f"{LIVE}-profile", "--only", "nth-nft,wrr", "--standing", "0", "--seconds", "0.5"],
                             capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    found = profiled(ran.stdout)
    everywhere = {row: {name: sum(times[name] for (_, kind), times in found.items() if kind == row) for name in ("nth-nft", "wrr")}
                  for _, row in found}
    assert everywhere["sum"]["nth-nft"] > 0
    assert everywhere["userspace"]["wrr"] > 0
    queue = everywhere["queue and verdicts"]
    assert queue["wrr"] > 2 * queue["nth-nft"], "wrr alone has a queue"
