# SPDX-License-Identifier: GPL-2.0-or-later
"""`offload`: settled connections leave the packet hooks for the kernel's flowtable, and come back."""

import re

import pytest
from lab import wait_until
from steering import steer

FLOWS = 6
HOOKS = """table inet hooks {
	counter forwarded {}
	chain before { type filter hook forward priority -300; meta l4proto { tcp, udp } counter name forwarded; }
}"""


class Offloading:
    """A world with long connections in the flowtable"""

    def __init__(self, world, udp):
        self.world = world
        self.protocol = "udp" if udp else "tcp"
        world.router.run("nft", "-f", "-", stdin=HOOKS)
        steer(world, offload=True)
        self.run = world.traffic(flows=FLOWS, rate=50, packets=9000, spread=900, udp=udp, timeout=5)
        wait_until(lambda: len(self.offloaded()) == FLOWS, 20, "all flows in the flowtable")

    def offloaded(self):
        """conntrack's lines of offloaded flows"""
        lines = self.world.router.conntrack("-p", self.protocol).splitlines()
        return [line for line in lines if "[OFFLOAD]" in line]

    def forwarded(self):
        """Packets that the forward hook saw"""
        listed = self.world.router.run("nft", "list", "counter", "inet", "hooks", "forwarded").stdout
        return int(re.search(r"packets (\d+)", listed)[1])

    def scheduled(self):
        """Flows decided anew: one whose second packet finds the first still queued is decided once all the same"""
        stats = self.world.balancer.json("show stats")["stats"]
        return sum(queue["reason scheduled"] for name, queue in stats.items() if name.startswith("queue "))

    def arrived(self):
        return self.world.server.run(self.run.run)["packets"]

    def wait_arrivals(self, more):
        start = self.arrived()
        wait_until(lambda: self.arrived() >= start + more, 20, f"{more} packets more")


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_settled_flows_skip_the_hooks(make_world, udp):
    """Established flows pass no hook, stay on their links, keep their mark; a restart takes them back and in again."""
    world = make_world(links=2, clients=1)
    flow = Offloading(world, udp)
    before = flow.forwarded()
    flow.wait_arrivals(10 * FLOWS)
    assert flow.forwarded() - before <= FLOWS, "packets pass the hooks"
    links = {int(re.search(r" mark=(\d+)", line)[1]) for line in flow.offloaded()}
    assert links == {0x8100, 0x8200}
    world.balancer.rules("restart")
    wait_until(lambda: len(flow.offloaded()) == FLOWS, 20, "all flows in the flowtable again")
    flow.wait_arrivals(2 * FLOWS)
    assert world.server.run(flow.run.run)["moved"] == 0
    assert world.split(flow.run.run) == {"link1": FLOWS // 2, "link2": FLOWS // 2}
    assert world.leaked() == 0
    assert flow.scheduled() == FLOWS


def test_deleted_flows_come_back(make_world):
    """Deleting link1's entries by mark takes its flows out of the flowtable: they are decided anew, for the other link."""
    world = make_world(links=2, clients=1)
    flow = Offloading(world, udp=True)
    world.balancer.command("set link link1 drain")
    world.router.run("conntrack", "-D", "-m", "0x8100/0xff00")
    wait_until(lambda: world.server.run(flow.run.run)["moved"] == FLOWS // 2, 20, "link1's flows on link2")
    wait_until(lambda: len(flow.offloaded()) == FLOWS, 20, "all flows in the flowtable again")
    assert {int(re.search(r" mark=(\d+)", line)[1]) for line in flow.offloaded()} == {0x8200}
    assert world.leaked() == 0
    assert flow.scheduled() == FLOWS + FLOWS // 2
