# SPDX-License-Identifier: GPL-2.0-or-later
"""Links that lose, delay and reorder packets: the development kernel has no netem."""

from steering import shares, steer

WEIGHTS = [2, 1]
NETEM = "delay 20ms 10ms 25% loss 4% reorder 25% 50%"


def test_bad_lines(make_world, scale):
    """Repeated and reordered first packets are one connection: decided once, on one link, in the policy's shares."""
    world = make_world(links=2, clients=2, weights=WEIGHTS)
    for link in world.links:
        for host in (world.router, world.internet):
            host.run("tc", "qdisc", "add", "dev", link.interface, "root", "netem", *NETEM.split())
    steer(world)
    flows = max(scale(600) // 3, 20) * 3
    tcp = world.traffic(world.clients[0], flows=flows, rate=30, packets=4, spread=1, timeout=60)
    # two seconds between packets: a second one that finds the first still queued would be counted, too
    udp = world.traffic(world.clients[1], flows=flows, rate=30, udp=True, packets=4, spread=6, timeout=3)
    result = tcp.result()
    assert result["failures"] == {} and result["completed"] == flows and result["moved"] == 0
    assert result["retransmits"] > 0, "the lines lost nothing"
    lossy = udp.result()
    assert lossy["answers"] < lossy["requests"] == 4 * flows and lossy["moved"] == 0
    assert sum(world.split(tcp.run).values()) == flows
    # of a UDP flow all four packets may be lost: the far side need not see each
    assert sum(world.split(udp.run).values()) >= 0.95 * flows
    assert world.balancer.decided() == 2 * flows
    shares(world.balancer.counters()["decided"], WEIGHTS)
    assert world.balancer.fallback() == 0
    assert world.leaked() == 0
