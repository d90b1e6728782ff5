# SPDX-License-Identifier: GPL-2.0-or-later
"""New connections take the links that the policy names, in the shares that it names."""

import pytest
from lab import wait_until
from steering import all_well, from_all_clients, only, shares, steer

WEIGHTS = [3, 2, 1]


def test_wrr_shares(make_world, figures, scale):
    """6,000 TCP connections over 3:2:1: each link within 1 % of its share, the fallback unused."""
    flows = scale(2000) * 3
    w = steer(make_world(weights=WEIGHTS))
    result, split = from_all_clients(w, flows)
    counts = w.balancer.counters()
    figures(flows=flows, split=split, decided=w.balancer.decided(), fallback=w.balancer.fallback(),
            connect_us=result["connect_us"])
    all_well(result, flows)
    shares(split, WEIGHTS)
    assert counts["decided"] == split
    assert w.balancer.fallback() == 0
    assert w.leaked() == 0


@pytest.mark.parametrize("how", ["nfqbctl", "socket"])
def test_wrr_weight_changes(make_world, figures, scale, how):
    """The shares follow a weight set at runtime from the next flow on, while connections go on being opened."""
    flows = scale(6000)
    w = steer(make_world(weights=WEIGHTS))
    phases = {(3, 2, 1): None, (1, 2, 3): ("link1 1", "link3 3"), (1, 2, 9): ("link3 9",)}
    runs = [w.traffic(client, flows=0, rate=1000) for client in w.clients]

    def decided():
        # not what arrived: flows that are on their way overtake one another
        return w.balancer.counters()["decided"]

    for weights, changes in phases.items():
        for change in changes or ():
            if how == "nfqbctl":
                w.balancer.nfqbctl("set", "weight", *change.split())
            else:
                w.balancer.command(f"set weight {change}")
        before = decided()
        wait_until(lambda: sum(decided().values()) >= sum(before.values()) + flows, 60, f"{flows} flows")
        after = decided()
        split = {name: after[name] - before[name] for name in after}
        figures(weights=weights, split=split)
        shares(split, weights, ends=2)
    for run in runs:
        result = run.stop().result()
        all_well(result, result["flows"])
    assert w.balancer.fallback() == 0
    assert decided() == w.split(*(run.run for run in runs))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_wrr_shares_ipv6_nat66(make_world, figures, scale, protocol):
    flows = scale(1000) * 3
    w = steer(make_world(weights=WEIGHTS, ipv6="nat66"))
    result, split = from_all_clients(w, flows, to=w.servers6, udp=protocol == "udp")
    figures(flows=flows, split=split, fallback=w.balancer.fallback())
    all_well(result, flows)
    shares(split, WEIGHTS)
    assert (w.balancer.decided(), w.balancer.fallback()) == (flows, 0)
    assert w.leaked() == 0


def test_wrr_shares_udp(make_world, figures, scale):
    flows = scale(2000) * 3
    w = steer(make_world(weights=WEIGHTS))
    # a second packet that finds the first still queued would be decided, too
    result, split = from_all_clients(w, flows, udp=True, packets=3, spread=1, in_turn=True)
    figures(flows=flows, split=split, fallback=w.balancer.fallback())
    all_well(result, flows)
    shares(split, WEIGHTS)
    assert (w.balancer.decided(), w.balancer.fallback()) == (flows, 0)


def test_ipv6_without_nat_keeps_to_its_prefix(make_world, scale):
    """A client's source prefix fixes the link, whatever the weights, with and without the daemon; IPv4 is balanced."""
    flows = scale(300)
    w = steer(make_world(weights=WEIGHTS, ipv6="prefix"))
    for daemon in (True, False):
        if not daemon:
            w.balancer.stop_daemon()
        for link in w.links:
            run = w.traffic(to=w.servers6, source=w.client_address6(1, link), flows=flows, rate=1000)
            all_well(run.result(), flows)
            only(w.split(run.run), link.name)
        if daemon:
            result, split = from_all_clients(w, 600)
            all_well(result, 600)
            shares(split, WEIGHTS)
            assert w.balancer.fallback() == 0
    assert w.leaked() == 0


@pytest.mark.parametrize("by", ["client", "client and destination"])
def test_hash_is_stable(make_world, by):
    """hash: all flows of a client (and destination) take one link, others spread, and a new daemon decides the same."""
    w = make_world(weights=WEIGHTS, clients=1)
    sticky = "source" if by == "client" else "none"
    steer(w, groups={"balanced": {"links": ["link1", "link2", "link3"], "scheduler": "hash", "sticky": sticky}})
    addresses = [f"192.168.1.{n}" for n in range(100, 140)]
    w.clients[0].address("eth0", *(f"{a}/24" for a in addresses))
    keys = [(a, w.servers) for a in addresses] if by == "client" else [(a, [to]) for a in addresses[:5] for to in w.servers]

    def links_used():
        runs = [w.traffic(source=a, to=to, flows=6, rate=0, parallel=2, udp=n % 2 == 1) for n, (a, to) in enumerate(keys)]
        for run in runs:
            all_well(run.result(), 6)
        splits = [w.split(run.run) for run in runs]
        assert all(max(split.values()) == 6 for split in splits), splits
        return [max(split, key=split.get) for split in splits]

    first = links_used()
    assert set(first) == {"link1", "link2", "link3"}
    w.balancer.stop_daemon()
    w.balancer.start_daemon()
    assert links_used() == first
    assert w.balancer.fallback() == 0


@pytest.mark.parametrize("sticky", ["source", "source-destination"])
def test_sticky_across_protocols(make_world, sticky):
    """A client (and server) keeps its link, TCP and UDP alike, all ports; others are balanced."""
    weights = [1, 1, 1] if sticky == "source" else WEIGHTS
    w = make_world(weights=weights)
    steer(w, groups={"balanced": {"links": ["link1", "link2", "link3"], "scheduler": "wrr", "sticky": sticky}})
    used = {}
    for udp in (False, True):
        runs = {(n, to): w.traffic(client, [to], flows=5, rate=0, parallel=5, udp=udp)
                for n, client in enumerate(w.clients) for to in w.servers}
        for (n, to), run in runs.items():
            all_well(run.result(), 5)
            key = n if sticky == "source" else (n, to)
            used.setdefault(key, set()).update(name for name, count in w.split(run.run).items() if count)
    assert all(len(links) == 1 for links in used.values()), used
    assert set.union(*used.values()) == {"link1", "link2", "link3"}
    # those who keep a link are dealt to the links by weight
    shares({link.name: sum(links == {link.name} for links in used.values()) for link in w.links}, weights)
    assert w.balancer.fallback() == 0


def test_rules_pin_and_first_match_wins(make_world):
    w = make_world(weights=WEIGHTS)
    steer(w, rules={
        "smtp": {"protocol": ["tcp"], "destination_port": ["5001"], "use": "link2"},
        "range": {"protocol": ["tcp", "udp"], "destination_port": ["5000:5003"], "use": "link3"},
        "host": {"source": [f"{w.client_address(2)}/32"], "use": "link1"},
        "server": {"destination": [w.servers[7]], "use": "link3"},
        "dscp": {"dscp": [8], "use": "link2"},
        "rest": {"use": "balanced"},
    })

    def check(expected, client=0, **options):
        run = w.traffic(w.clients[client], flows=30, rate=0, **options)
        all_well(run.result(), 30)
        only(w.split(run.run), *expected)

    check(["link2"], port=5001)
    check(["link3"], port=5001, udp=True)
    check(["link3"], port="5002-5003")
    check(["link3"], port=5003, client=1)
    check(["link1"], client=1, port=5010)
    check(["link1"], client=1, port=5010, to=[w.servers[7]], udp=True)
    check(["link3"], client=2, port=5010, to=[w.servers[7]])
    check(["link2"], port=5010, to=w.servers[:7], tos=0x20)
    check(["link2"], port=5010, to=w.servers[:7], tos=0x20, udp=True)
    check(["link1", "link2", "link3"], port=5010, to=w.servers[:7])
    assert w.balancer.fallback() == 0


def test_bypass_takes_mains_route_and_is_asked_once(make_world):
    """bypass: main's default route, no fallback, and no later packet in the queue."""
    w = make_world(weights=WEIGHTS)
    steer(w, rules={"out": {"destination_port": ["5001"], "use": "bypass"}, "rest": {"use": "balanced"}})
    w.router.ip(f"route replace default via {w.links[2].gateway}")
    for udp in (False, True):
        run = w.traffic(flows=200, rate=1000, packets=5, spread=0.2, port=5001, udp=udp, in_turn=udp)
        all_well(run.result(), 200)
        only(w.split(run.run), "link3")
    assert w.balancer.fallback() == w.balancer.decided() == 0
    queued = sum(queue["packets"] for name, queue in w.balancer.json("show stats")["stats"].items()
                 if name.startswith("queue"))
    assert queued == 400
    result, split = from_all_clients(w, 600, port=5002)
    all_well(result, 600)
    shares(split, WEIGHTS)
