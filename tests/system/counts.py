# SPDX-License-Identifier: GPL-2.0-or-later
"""The daemon's counts of flows against the kernel's table and what the senders do."""

import re

from lab.host import wait_until

SENDERS = ("client", "curl", "dig")  # the processes that open connections until they are ended


def links(balancer, what):
    """{link: "sending", "known", ...} as the daemon has it"""
    return {link["link"]: link[what] for link in balancer.json("show links")["links"]}


def marks_of(balancer):
    """The mask, and {link: its mark in the kernel's entries}; the daemon is asked only where the test does not know"""
    if balancer.ids:
        return 0xff00, {name: 0x8000 | number << 8 for name, number in balancer.ids.items()}
    shown = balancer.json("show links")["links"]
    return shown[0]["mask"], {link["link"]: link["mark"] for link in shown}


def kernel_known(balancer):
    """{link: entries of the kernel with its mark}"""
    mask, marks = marks_of(balancer)
    settled = 1 << (mask.bit_length() - 1)
    listed = "".join(balancer.router.conntrack("-f", family, "-m", f"{settled}/{settled}") for family in ("ipv4", "ipv6"))
    found = [int(mark) & mask for mark in re.findall(r"mark=(\d+)", listed)]
    return {name: found.count(mark) for name, mark in marks.items()}


def agree(balancer, timeout=10):
    """Wait until the daemon knows as many flows of each link as the kernel; that many."""
    seen = {}

    def same():
        seen.update(kernel=kernel_known(balancer), known=links(balancer, "known"))
        return seen["kernel"] == seen["known"]

    try:
        wait_until(same, timeout)
    except TimeoutError:
        raise AssertionError(f"known {seen['known']}, of the kernel's {seen['kernel']}") from None
    return seen["known"]


def sending(balancer, number, timeout=10):
    """Wait until so many flows are sending, all links together."""
    try:
        wait_until(lambda: sum(links(balancer, "sending").values()) == number, timeout)
    except TimeoutError:
        raise AssertionError(f"sending {links(balancer, 'sending')}, not {number}") from None


def do_not_drift(balancer):
    """After a test: its senders ended, nothing is sending, and the daemon knows what the kernel knows."""
    if balancer.json("status")["feedback"]["source"] == "off":
        return
    for process in balancer.router.lab.processes:
        if process.name in SENDERS and process.alive():
            process.kill()
    # a connection that lost its link is found idle by two looks at the whole table
    sending(balancer, 0, 40)
    agree(balancer, 20)
