# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/delay: does it measure what it says, on few flows? What the figures are is no test."""

import json
import os
import subprocess

from lab import paths


def test_measures(tmp_path, scale):
    path = tmp_path / "results.json"
    standing = scale(5000)
    ran = subprocess.run([os.path.join(paths.ROOT, "bench", "delay"), "--seconds", "3", "--rates", "20,200", "--standing",
                          str(standing), "--json", str(path)], capture_output=True, text=True, timeout=300, check=False)
    assert path.exists(), ran.stderr
    result = json.loads(path.read_text())
    assert [row["rate"] for row in result["rates"]] == [20, 200]
    for row in result["rates"]:
        assert row["failures"] == row["overruns"] == 0
        assert 0 < row["reached"] <= 1.1 * row["rate"]
        assert 0 <= row["feedback"] < 100
        # a connection begins, is answered, established, closed from both sides; some have not ended yet
        assert 3 <= row["events_per_flow"] <= 8
        # 0: this kernel does not tell the time of its events
        assert row["p50_us"] <= row["p99_us"]
    kept = result["memory"]
    assert 0.99 * standing <= kept["flows"] <= standing + 5
    assert kept["before"] + 40 * standing / 2**20 < kept["after"] < 64
    assert "resident:" in ran.stdout
