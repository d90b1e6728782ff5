# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of what ran: kernel x rules backend x commit path x family."""

import json
import os
import xml.etree.ElementTree as tree

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
        text += "\n" + "".join(f"({number}) {why}\n" for number, why in enumerate(reasons, 1))
    return text


def counts(path):
    """(passed, failed, skipped) of a JUnit report; one failure when there is none."""
    total = failed = skipped = 0
    try:
        for suite in tree.parse(path).iter("testsuite"):
            total += int(suite.get("tests"))
            failed += int(suite.get("failures")) + int(suite.get("errors"))
            skipped += int(suite.get("skipped"))
    except (OSError, tree.ParseError):
        return 0, 1, 0
    return total - failed - skipped, failed, skipped
