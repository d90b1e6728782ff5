# SPDX-License-Identifier: GPL-2.0-or-later
"""The schedulers that go by what is measured: spillover and latency, with real traffic."""

import os
import sys

from lab import wait_until
from steering import steer

SLOW_LINE = os.path.join(os.path.dirname(__file__), "slow_line.py")


def group(world, scheduler):
    return {"balanced": {"links": [link.name for link in world.links], "scheduler": scheduler, "sticky": "none"}}


def split(world, flows, **options):
    """Where so many short connections go, by what the far side sees"""
    run = world.traffic(world.clients[1], flows=flows, rate=200, **options)
    result = run.result()
    assert result["completed"] == flows, result
    return world.split(run.run)


def all_go_to(world, name, what):
    """Wait until new connections go through this link, all of them: rates come and go over seconds"""
    wait_until(lambda: split(world, 20)[name] == 20, 30, what, interval=0.1)


def stream(world):
    """A connection that is sent 16 Mbit/s; what ends it, and its link"""
    run = world.traffic(flows=1, packets=6000, spread=300, want=100000)
    wait_until(lambda: world.server.run(run.run)["flows"] == 1, what="the stream")
    return run.process, next(name for name, flows in world.split(run.run).items() if flows)


def test_spillover(make_world):
    """
    The first link takes everything until it carries 80 % of its 5 Mbit/s, then the second
    does, then both; and each takes new connections again when its stream has ended.
    """
    world = make_world(links=2, clients=2, keys={"download": "5Mbit"})
    steer(world, group(world, "spillover"))
    assert split(world, 20) == {"link1": 20, "link2": 0}
    first, link = stream(world)
    assert link == "link1"
    all_go_to(world, "link2", "link1 to be loaded")
    second, link = stream(world)
    assert link == "link2"
    # both are loaded: least-load, and as many flows are sending through one as through the other
    wait_until(lambda: all(split(world, 4).values()), 30, "both links used", interval=0.1)
    first.kill()
    all_go_to(world, "link1", "link1 to have room")
    third, link = stream(world)
    assert link == "link1"
    second.kill()
    all_go_to(world, "link2", "link2 to have room")
    third.kill()
    assert world.balancer.fallback() == 0


def slow_down(world, link, milliseconds):
    """What this provider passes to the internet takes a while; returns the process to end"""
    provider = next(host for host in world.lab.hosts if host.name == f"provider{link.id}")
    provider.sysctl({"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0})
    process = provider.start(sys.executable, SLOW_LINE, "slow", milliseconds)
    wait_until(lambda: "ready" in process.log(), what="the slow line")
    provider.sysctl({"net.ipv4.conf.slow.rp_filter": 0})
    provider.ip("link set slow up", f"route replace default dev slow table {link.id}",
                f"rule add iif {link.interface} lookup {link.id}")
    return process


def test_latency(make_world):
    """
    Connections go where handshakes are quick, but for one of 64 that keeps the other link
    measured; when the links change places, so do the connections.
    """
    world = make_world(links=2, clients=2, providers=True)
    one, other = world.links
    slow = slow_down(world, other, 40)
    steer(world, group(world, "latency"))

    def avoided(name):
        counts = split(world, 256)
        return counts[name] <= 256 // 64 + 2 and counts

    wait_until(lambda: avoided("link2"), 60, "connections to avoid link2")
    measured = {link["link"]: link["rtt_us"] for link in world.balancer.json("show links")["links"]}
    assert measured["link2"] >= 40000 > measured["link1"] > 0
    slow.stop()
    slow_down(world, one, 80)
    wait_until(lambda: avoided("link1"), 60, "connections to avoid link1")
    assert world.balancer.fallback() == 0
