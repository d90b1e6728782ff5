# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/fct: does it measure what it says, on few downloads? What the figures are is no test."""

import json
import os
import subprocess

import pytest

from lab import paths

SETTING = ["--pcaps", os.path.join(paths.ROOT, "tests", "pcaps"), "--captures", "link-ethernet", "--links", "3:1",
           "--loads", "60", "--flows", "400"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What --json keeps of a small run of all contenders."""
    path = tmp_path_factory.mktemp("fct") / "results.json"
    ran = subprocess.run([os.path.join(paths.ROOT, "bench", "fct"), *SETTING, "--contenders", "least-load", "wrr", "nth",
                          "ecmp", "--json", str(path)], capture_output=True, text=True, timeout=300, check=False)
    assert path.exists(), ran.stderr
    return json.loads(path.read_text()) | {"printed": ran.stdout}


def test_every_contender_fetches_the_list(kept):
    assert sorted(result["contender"] for result in kept["results"]) == ["ecmp", "ideal", "least-load", "nth", "wrr"]
    for result in kept["results"]:
        assert result["failures"] == {}, result["contender"]
        assert len(result["fct_us"]) == sum(result["split"].values()) == 400
        assert result["fallback"] == 0


def test_split_is_by_capacity(kept):
    split = {result["contender"]: result["split"] for result in kept["results"]}
    # 48 downloads to warm up came before: whole turns. No port comes twice: the same flow again within seconds takes no turn
    assert split["nth"] == {"link1": 300, "link2": 100}
    assert split["wrr"] == {"link1": 300, "link2": 100}
    assert 200 < split["ecmp"]["link1"] < 380


def test_links_are_shaped(kept):
    for rate, reached in kept["reached"].items():
        for mbit in reached:
            assert 0 < mbit < 1.25 * int(rate), "the shaper lets through more"


def test_goal_is_judged(kept):
    assert "3:1: least-load's mean" in kept["printed"]


def test_bounds_need_no_lab():
    def bounds(*arguments):
        ran = subprocess.run([os.path.join(paths.ROOT, "bench", "fct"), *SETTING, "--bounds", "3", *arguments],
                             capture_output=True, text=True, timeout=60, check=True)
        return ran.stdout.splitlines()
    lists = bounds()
    capture, links, flows, n, mean, least, most = lists[1].split()
    assert (capture, links, flows, n) == ("link-ethernet", "3:1", "400", "3")
    assert 0 < float(least) < float(mean) < float(most) < 1, "perfect knowledge is better than turns and than chance"
    assert bounds() == lists
    assert bounds("--seed", "9") != lists
