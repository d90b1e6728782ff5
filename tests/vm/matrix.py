# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of what ran: kernel x rules backend x commit path x family."""

import json
import os

FAMILIES = ("IPv4", "IPv6")


def _cells(path):
    """The lines that tests/system/test_matrix.py wrote: {"kernel", "backend", "commit", "family", "result", "why"}"""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def table(paths):
    """The cells of these files as Markdown; empty when there are none."""
    cells = [cell for path in paths for cell in _cells(path)]
    if not cells:
        return ""
    rows, reasons = {}, []
    for cell in cells:
        result = cell["result"]
        if result == "n/a":
            if cell["why"] not in reasons:
                reasons.append(cell["why"])
            result += f" ({reasons.index(cell['why']) + 1})"
        rows.setdefault((cell["kernel"], cell["backend"], cell["commit"]), {})[cell["family"]] = result
    text = "| kernel | rules | commit path | " + " | ".join(FAMILIES) + " |\n| --- | --- | --- | --- | --- |\n"
    for row, results in rows.items():
        text += "| " + " | ".join((*row, *(results.get(family, "not run") for family in FAMILIES))) + " |\n"
    if reasons:
        text += "".join(f"\n({number}) {why}\n" for number, why in enumerate(reasons, 1))
    return text


def counts(paths):
    """(passed, failed, skipped) of these files of outcomes (see instant.py)."""
    sums = {"passed": 0, "FAILED": 0, "skipped": 0}
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    sums[line.split(None, 1)[0]] += 1
    return tuple(sums.values())
