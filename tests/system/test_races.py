# SPDX-License-Identifier: GPL-2.0-or-later
"""
Two packets of one new connection wait in the queue together. Each has an unconfirmed
conntrack entry of its own. Kernels from 6.12 on drop a TCP duplicate when it is confirmed,
older ones give it the winner's entry; UDP duplicates are merged by both. Whatever happens
to the second packet, it must not leave by another link than the first.
"""

import os
import re
import signal

import pytest
from lab import wait_until
from lab.host import PATIENCE
from steering import all_well

FLOWS = 13  # odd: taken in turn, the second packets would all meet the other link
DROPS_DUPLICATES = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 12)


def keep_entries(world):
    """However long a slow machine takes: UDP's entries last until they are counted."""
    world.router.sysctl({"net.netfilter.nf_conntrack_udp_timeout": 600})


def count_arrivals(world):
    """Count at the far side what comes by which link: SYNs of TCP, every packet of UDP."""
    rules = "".join(f"iifname {link.interface} meta l4proto {match} counter name {name}_{link.name}\n"
                    for link in world.links
                    for name, match in (("tcp", "tcp tcp flags & (syn|ack) == syn"), ("udp", "udp")))
    counters = "".join(f"counter {name}_{link.name} {{}}\n" for link in world.links for name in ("tcp", "udp"))
    world.internet.run("nft", "-f", "-", stdin=f"table inet arrivals {{\n{counters}chain arrived {{\n"
                       f"type filter hook prerouting priority -290\n{rules}}}\n}}\n")


def arrivals(world, protocol):
    """{link name: packets}"""
    listed = world.internet.run("nft", "list", "counters", "table", "inet", "arrivals").stdout
    return {name: int(packets) for name, packets in
            re.findall(rf"counter {protocol}_(\S+) {{\s+packets (\d+)", listed)}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_two_packets_of_one_flow(make_world, protocol):
    """Weights 1:1 and no stickiness: without a memory the second packet of each flow would take the other link."""
    world = make_world(links=2, clients=1)
    count_arrivals(world)
    keep_entries(world)
    daemon = world.balancer
    # without the daemon nothing passes: no packet is decided by the fallback
    daemon.configure(world.links, source_limit=0)
    daemon.start()
    daemon.process.send_signal(signal.SIGSTOP)
    # a SYN is sent again after a second
    options = {"tcp": {}, "udp": {"udp": True, "packets": 2, "spread": 0.2}}[protocol]
    run = world.traffic(flows=FLOWS, rate=100, **options)
    wait_until(lambda: daemon.queues()["waiting"] >= 2 * FLOWS, 10, "two packets of each flow in the queue")
    daemon.process.send_signal(signal.SIGCONT)
    result = run.result()
    assert result["failures"] == {} and result["completed"] == FLOWS and result["moved"] == 0
    split = world.split(run.run)
    assert sorted(split.values()) == [FLOWS // 2, FLOWS - FLOWS // 2]
    assert world.leaked() == 0
    assert daemon.fallback() == 0
    seen = arrivals(world, protocol)
    if protocol == "udp":
        assert result["answers"] == result["requests"] == 2 * FLOWS
        assert seen == {name: 2 * flows for name, flows in split.items()}
    elif DROPS_DUPLICATES:
        # of each flow one repetition and more was dropped; what a slow machine repeats later is no duplicate
        assert all(seen[name] >= flows for name, flows in split.items()), seen
        assert sum(seen.values()) <= result["retransmits"], (seen, split)
    else:
        assert daemon.decided() == FLOWS, "a duplicate counts as a flow"
        assert all(flows <= seen[name] <= 3 * flows for name, flows in split.items()), seen
        assert sum(seen.values()) >= 2 * FLOWS, "the duplicates arrive too"
    # one entry per flow, and what comes now is restored from it
    entries = re.findall(r"dst=203\.0\.113\.\d+ sport=\d+ dport=50[01]\d ", daemon.router.conntrack("-p", protocol))
    assert len(entries) == FLOWS
    again = world.traffic(flows=FLOWS, rate=100, udp=protocol == "udp")
    all_well(again.result(), FLOWS)


def test_first_packet_waits_while_fallback_takes_second(make_world):
    """The queue is full of first packets when the second ones come: none is lost"""
    world = make_world(links=2, clients=1)
    count_arrivals(world)
    daemon = world.balancer
    daemon.configure(world.links, source_limit=0, queue_length=FLOWS)
    daemon.start()
    # a turn ahead of the fallback, the daemon takes the other link for each
    all_well(world.traffic(flows=1, udp=True).result(), 1)
    daemon.process.send_signal(signal.SIGSTOP)
    # (in their order, and long after the last of the first ones)
    run = world.traffic(flows=FLOWS, rate=1000, udp=True, packets=2, spread=2 * PATIENCE)
    wait_until(lambda: daemon.fallback() == FLOWS, 10, "the second packets to pass")
    assert daemon.queues()["waiting"] == FLOWS
    daemon.process.send_signal(signal.SIGCONT)
    result = run.result()
    # later kernels know two connections until both are confirmed: each packet goes by its own answer
    assert result["failures"] == {} and result["moved"] == (FLOWS if DROPS_DUPLICATES else 0)
    assert result["answers"] == sum(arrivals(world, "udp").values()) - 1 == 2 * FLOWS
    assert world.leaked() == 0
