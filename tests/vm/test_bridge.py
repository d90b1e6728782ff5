# SPDX-License-Identifier: GPL-2.0-or-later
"""
A bridge as the LAN while br_netfilter shows bridged frames to the packet hooks, as on
machines with Docker. The module changes every namespace: one reason why each pytest has
a machine of its own.
"""

import subprocess

import pytest
from lab.traffic import Client, Server
from ruleset import BACKENDS
from steering import all_well, from_all_clients, shares

WEIGHTS = [2, 1]


@pytest.fixture(scope="module", autouse=True)
def br_netfilter():
    subprocess.run(["modprobe", "br_netfilter"], check=True)
    yield
    subprocess.run(["modprobe", "-r", "br_netfilter"], check=True)


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b in ("nft", "iptables-legacy")])
def test_frames_between_ports_are_not_steered(make_world, scale, backend):
    """Hosts of the LAN reach each other through the bridge, unmarked; what they send out is shared as ever."""
    world = make_world(links=2, clients=2, weights=WEIGHTS)
    world.router.sysctl({"net.bridge.bridge-nf-call-iptables": 1, "net.bridge.bridge-nf-call-ip6tables": 1})
    for link, weight in zip(world.links, (1, 8)):
        link.keys["fallback_weight"] = weight
    world.balancer.configure(world.links, source_limit=0)
    world.balancer.rules("start", env={"NFQB_BACKEND": backend})
    world.balancer.start_daemon()
    inside = Server(world.clients[1], "80")
    runs = [Client(world.clients[0], [world.client_address(2)], port=80, flows=10, rate=50, udp=udp)
            for udp in (False, True)]
    for run in runs:
        all_well(run.result(), 10)
    assert set(inside.report()["runs"][str(runs[0].run)]["by_peer"]) == {world.client_address(1)}
    bridged = [line for line in world.router.conntrack().splitlines() if f"dst={world.client_address(2)} " in line]
    assert len(bridged) >= 20, "br_netfilter shows the frames"
    assert [line for line in bridged if " mark=0 " not in line] == []
    flows = max(scale(300) // 6, 5) * 6
    result, split = from_all_clients(world, flows, rate=50)
    all_well(result, flows)
    shares(split, WEIGHTS)
    assert world.leaked() == 0
