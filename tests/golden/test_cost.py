# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/cost runs and prints every point of its curves. Times are not judged here; how instructions grow is."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COST = ROOT / os.environ.get("NFQB_BUILD", "build") / "bench" / "cost"
POINTS = {"rules": [1, 3, 10, 30, 100, 300, 1000, 3000, 10000], "links": [2, 4, 8, 16, 32, 60],
          "sticky": [0, 100, 1000, 10000, 100000, 1000000]}
SCHEDULERS = ["wrr", "hash", "least-load", "spillover", "latency"]


def cost(*options):
    return subprocess.run([COST, *options], capture_output=True, text=True, check=False)


def test_all_points():
    result = cost("--decisions", "128", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    points = [json.loads(line) for line in result.stdout.splitlines()]
    curves = [p for p in points if p["curve"] != "policy"]
    assert [(p["curve"], p["scheduler"], p["x"]) for p in curves] == [
        (curve, scheduler, x) for curve, xs in POINTS.items() for scheduler in SCHEDULERS for x in xs]
    for point in curves:
        assert 0 < point["decide_median_ns"] <= point["decide_p99_ns"]
        assert 0 < point["decode_decide_median_ns"] <= point["decode_decide_p99_ns"]
    policies = [p for p in points if p["curve"] == "policy"]
    assert [(p["rules"], p["links"]) for p in policies] == [(10, 60), (100, 60), (1000, 60), (10000, 60)]
    tells = b"__asan_init" not in COST.read_bytes()  # its allocator does not say what is in use
    assert all((p["kept_kib"] > 0) == tells for p in policies)


def instructions(links, scheduler, decisions):
    """Of one decision, as valgrind counts them."""
    ran = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=time_batch",
                          COST, "--only", "links", "--at", str(links), "--scheduler", scheduler,
                          "--decisions", str(decisions)], capture_output=True, text=True, check=True)
    batches = decisions // 64 + 1
    before = -(-2 * decisions // 64)  # so many fill the table of answers
    return int(re.search(r"Collected : (\d+)", ran.stderr)[1]) / 64 / (before + 2 * batches)


# hash asks all links once for each of its 65,536 buckets; valgrind has no time for that many decisions
@pytest.mark.skipif(not shutil.which("valgrind"), reason="valgrind is not installed")
@pytest.mark.parametrize("scheduler", [s for s in SCHEDULERS if s != "hash"])
def test_links_cost_a_logarithm(scheduler):
    """Five doublings, from 2 to 60 links, cost as much as five times one of the first two, with some room. If each link
    cost something it would be nearly thirty times as much."""
    if b"__asan_init" in COST.read_bytes():
        pytest.skip("valgrind does not run sanitized programs")
    few, some, many = (instructions(links, scheduler, 6400) for links in (2, 8, 60))
    assert many - few < 2 * 2.5 * max(some - few, 20), (few, some, many)


def test_text_of_one_curve():
    result = cost("--decisions", "64", "--only", "links", "--scheduler", "least-load")
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and lines[0].startswith("CURVE")
    assert [line.split()[:3] for line in lines[1:]] == [["links", str(n), "least-load"] for n in POINTS["links"]]


@pytest.mark.parametrize("options, complaint", [
    (["--only", "colours"], 'nfqb-cost: --only: "colours" is wrong, expected rules, links, sticky or policy'),
    (["--scheduler", "best"], 'nfqb-cost: --scheduler: "best" is wrong, expected the name of a scheduler'),
    (["--decisions", "-1"], 'nfqb-cost: --decisions: "-1" is wrong, expected a number'),
    (["config"], 'nfqb-cost: argument: "config" is wrong, expected options alone (see cost --help)'),
])
def test_wrong_options(options, complaint):
    result = cost(*options)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", complaint + "\n")
