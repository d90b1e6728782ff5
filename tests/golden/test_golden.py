# SPDX-License-Identifier: GPL-2.0-or-later
"""Golden replays: capture + configuration -> one line per decision, byte for byte.

cases.tsv holds one case per line. An expected file is what the program writes
to standard output; where it fails, "! exit STATUS" and what it said on standard
error follow. After a wanted change: GOLDEN_UPDATE=1 python3 -m pytest tests/golden,
then read the difference.
"""

import json
import os
import pathlib
import pty
import re
import shlex
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CAPTURES = ROOT / "tests" / "pcaps"
REPLAY = ROOT / os.environ.get("NFQB_BUILD", "build") / "bench" / "replay"


def cases():
    lines = (HERE / "cases.tsv").read_text().splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def replay(*arguments):
    """Run it where its relative paths are, so that no machine's path is in what it says."""
    return subprocess.run([REPLAY, *arguments], cwd=HERE, capture_output=True, text=True, timeout=60, check=False)


def outcome(run):
    if run.returncode == 0:
        return run.stdout
    said = "".join(f"! {line}\n" for line in run.stderr.splitlines())
    return f"{run.stdout}! exit {run.returncode}\n{said}"


@pytest.mark.parametrize("name, capture, config, options, expected", cases(), ids=lambda value: value)
def test_case(name, capture, config, options, expected):
    options = [] if options == "-" else shlex.split(options)
    config = [] if config == "-" else [f"conf/{config}"]
    arguments = [*options, *config, f"../pcaps/{capture}"]
    first = outcome(replay(*arguments))
    path = HERE / "expected" / expected
    if os.environ.get("GOLDEN_UPDATE"):
        path.write_text(first)
    assert first == path.read_text(), name
    assert outcome(replay(*arguments)) == first, "the same twice"


def test_every_expected_file_is_used():
    used = {case[4] for case in cases()}
    assert used == {path.name for path in (HERE / "expected").iterdir()}


def test_captures_are_what_the_generator_makes():
    run = subprocess.run([CAPTURES / "generate.py", "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


# What the files beside say is right only if somebody read it. These do not depend on that.

def decisions(*arguments):
    run = replay("-q", *arguments)
    assert run.returncode == 0, run.stderr
    keys = "time protocol source sport destination dport rule group link reason".split()
    return [dict(zip(keys, line.split(" "))) for line in run.stdout.splitlines()]


def test_split_by_weight():
    links = [d["link"] for d in decisions("conf/wrr.conf", "../pcaps/web.pcap")]
    assert len(links) == 60
    for end in range(6, 61, 6):
        part = links[end - 6:end]
        assert (part.count("alfa"), part.count("bravo"), part.count("delta")) == (3, 2, 1), "exact in every round"


def test_sticky_over_protocols_for_ten_minutes():
    links, protocols, last = {}, set(), {}
    for d in decisions("conf/sticky.conf", "../pcaps/persistent.pcap"):
        pair, time = (d["source"], d["destination"]), float(d["time"])
        fresh = pair in last and time - last[pair] < 600
        assert d["reason"] == ("sticky" if fresh else "scheduled"), d
        if fresh:
            assert d["link"] == links[pair], d
        links[pair], last[pair] = d["link"], time
        protocols.add(d["protocol"])
    assert protocols == {"tcp", "udp", "icmp", "sctp"}


def test_retransmissions_are_answered_alike():
    answers = {}
    repeats = []
    for d in decisions("--delay", "2", "conf/wrr.conf", "../pcaps/retransmit.pcap"):
        if d["reason"] == "repeat":
            assert d["link"] == answers[d["sport"]], d
            repeats.append(d["sport"])
        answers[d["sport"]] = d["link"]
    # a SYN and a question while the first waits; two tuples used again within three seconds
    assert repeats == ["48000", "48001", "48002", "48003"]


def test_hash_moves_only_what_must_move():
    before = decisions("conf/hash-destination.conf", "../pcaps/web.pcap")
    after = decisions("--down", "delta", "conf/hash-destination.conf", "../pcaps/web.pcap")
    assert any(d["link"] == "delta" for d in before)
    for old, new in zip(before, after):
        assert old["link"] == new["link"] or old["link"] == "delta"


def simulation(*arguments):
    run = replay("--simulate", "resample", "--draw", "2000", "--json", *arguments, "conf/simulate.conf", "../pcaps/web.pcap")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_simulation_is_its_seeds():
    fifth, sixth, both = simulation("--seed", "5"), simulation("--seed", "6"), simulation("--seed", "5", "--seeds", "2")
    assert fifth["flows"] == 2000
    for name, values in both["schedulers"].items():
        assert sum(values["flows"].values()) == 2000, name
        parts = fifth["schedulers"][name]["mean"], sixth["schedulers"][name]["mean"]
        assert parts[0] != parts[1], "another seed, other arrivals"
        assert abs(values["mean"] - sum(parts) / 2) < 1e-5, "the mean of its seeds"
        assert 1 <= values["p50"] <= values["p95"] <= values["p99"], name


def test_same_seed_same_bytes():
    arguments = ["--simulate", "resample", "--draw", "2000", "--seeds", "2", "--seed", "7", "conf/simulate.conf", "../pcaps/web.pcap"]
    for form in ([], ["--json"]):
        first, second = replay(*form, *arguments), replay(*form, *arguments)
        assert (first.returncode, first.stderr) == (0, ""), "no bar where nobody watches"
        assert first.stdout == second.stdout


def test_progress_bar_on_a_terminal():
    ours, theirs = pty.openpty()
    command = [REPLAY, "--simulate", "resample", "--draw", "2000", "--seeds", "2", "conf/simulate.conf", "../pcaps/web.pcap"]
    run = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert run.returncode == 0
    percents = [int(percent) for percent in re.findall(r"\r\[#* *\] +(\d+) %", shown)]
    assert len(percents) > 10 and percents == sorted(percents) and percents[-1] < 100
    bars = [len(bar) for bar in re.findall(r"\[(#*)", shown) if bar]
    assert bars == sorted(bars) and bars[0] < bars[-1]
    assert shown.endswith("\r\033[K"), "nothing is left on the line"


def test_simulated_load_and_delay_count():
    light, heavy = (simulation("--load", str(load))["schedulers"]["pooled"]["mean"] for load in (20, 90))
    assert light < heavy
    none, late = (simulation("--event-delay", str(ms))["schedulers"] for ms in (0, 60000))
    assert none["least-load"] == none["perfect"]
    assert late["perfect"] == none["perfect"]
    assert late["least-load"] != none["least-load"]


def test_series_of_seconds(tmp_path):
    path = tmp_path / "series"
    result = simulation("--series", path)
    assert result == simulation(), "looking changes nothing"
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    assert lines.pop(0) == ["scheduler", "second", "link", "bits", "flows"]
    assert {line[0] for line in lines} == set(result["schedulers"])
    for scheduler, _, link, bits, _ in lines:
        capacity = {"alfa": 30000, "bravo": 10000}[link]
        assert 0 <= int(bits) <= capacity or scheduler == "pooled"


def test_hidden_ends_cost():
    plain, idle = simulation(), simulation("--idle-share", "50", "--idle-time", "60000")
    assert idle["schedulers"]["perfect"] == plain["schedulers"]["perfect"]
    assert idle["schedulers"]["least-load"] != plain["schedulers"]["least-load"]
