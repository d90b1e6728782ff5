# SPDX-License-Identifier: GPL-2.0-or-later
"""Links that go away and come back, connections from outside, the router's own, and other people's routes and marks."""

import re

import pytest
from control import status
from lab import Server, wait_until
from lab.topology import Link
from lab.traffic import Client
from steering import all_well, from_all_clients, only, shares, steer, wait_link

WEIGHTS = [3, 2, 1]

# The kernel's own limit, one ICMP error per second and client, is not what is tested here
NO_ICMP_LIMIT = {"net.ipv4.icmp_ratelimit": 0}


# ---- links down ----

def cut(world, name):
    """Pull a link's cable at the provider's end: the router's interface loses its carrier."""
    world.internet.ip(f"link set dev {world.link(name).interface} down")
    wait_link(world, name, "down")


def plug(world, name):
    world.internet.ip(f"link set dev {world.link(name).interface} up")
    wait_link(world, name, "up")


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_if_down_reject_is_quick_and_clear(make_world, udp):
    w = make_world(weights=WEIGHTS)
    steer(w, rules={"mail": {"destination_port": ["5001"], "use": "link2", "if_down": "reject"},
                    "rest": {"use": "balanced"}})
    cut(w, "link2")
    w.router.sysctl(NO_ICMP_LIMIT)
    run = w.traffic(flows=50, rate=200, port=5001, udp=udp, timeout=10)
    result = run.result()
    assert result["completed"] == 0
    assert result["failed"] == 50
    # an error of the network, not somebody's patience running out
    assert set(result["failures"]) <= {"ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EACCES"}, result["failures"]
    assert result["retransmits"] == 0
    plug(w, "link2")
    run = w.traffic(flows=50, rate=0, port=5001, udp=udp)
    all_well(run.result(), 50)
    only(w.split(run.run), "link2")


def test_if_down_other_is_the_default(make_world):
    w = make_world(weights=WEIGHTS)
    steer(w, rules={"mail": {"destination_port": ["5001"], "use": "link2"}, "rest": {"use": "balanced"}})
    cut(w, "link2")
    run = w.traffic(flows=100, rate=0, port=5001)
    all_well(run.result(), 100)
    only(w.split(run.run), "link1", "link3")
    assert w.balancer.fallback() == 0


@pytest.mark.parametrize("end", ["provider", "router"])
def test_new_flows_avoid_a_dead_link_until_it_is_back(make_world, end):
    """
    Carrier lost (the provider's end goes down) or the interface set down (the kernel then
    forgets the link's routes, and the daemon has to put them back).
    """
    w = steer(make_world(weights=WEIGHTS))
    host = w.internet if end == "provider" else w.router
    host.ip("link set dev wan2 down")
    wait_link(w, "link2", "down")
    result, split = from_all_clients(w, 600)
    all_well(result, 600)
    only(split, "link1", "link3")
    shares({name: split[name] for name in ("link1", "link3")}, [3, 1])
    host.ip("link set dev wan2 up")
    wait_link(w, "link2", "up")
    result, split = from_all_clients(w, 600)
    all_well(result, 600)
    shares(split, WEIGHTS)
    assert w.balancer.fallback() == 0
    assert w.leaked() == 0


def test_link_cut_under_load_spares_the_others(make_world):
    """Flows of healthy links are never touched; new connections fail on none."""
    w = steer(make_world(weights=WEIGHTS))
    before = w.traffic(w.clients[0], flows=300, rate=1000, packets=20, spread=4, udp=True, timeout=3, hold=True)
    wait_until(lambda: w.server.run(before.run)["flows"] == 300, 5)
    on_link2 = w.split(before.run)["link2"]
    cut(w, "link2")
    new = w.traffic(w.clients[1], flows=500, rate=1000)
    all_well(new.result(), 500)
    only(w.split(new.run), "link1", "link3")
    before.release()  # no flow of link2 can have ended before the cut
    result = before.result()
    assert result["completed"] == 300 - on_link2
    assert w.server.run(before.run)["moved"] == 0


def test_drained_link_keeps_its_flows(make_world):
    w = steer(make_world(weights=WEIGHTS))
    old = w.traffic(flows=300, rate=1000, packets=10, spread=2)
    wait_until(lambda: w.server.run(old.run)["flows"] == 300, 5)
    w.balancer.command("set link link1 drain")
    new = w.traffic(w.clients[1], flows=300, rate=1000)
    all_well(new.result(), 300)
    only(w.split(new.run), "link2", "link3")
    all_well(old.result(), 300)
    assert w.server.run(old.run)["moved"] == 0


def test_gateway_auto_follows_main(make_world):
    """The gateway of `auto` is where main's default route leaves by the link: one hop of several, or one by itself."""
    w = make_world(links=2)
    one, two = w.links
    for link in w.links:
        link.keys["gateway"] = "auto"
    w.router.ip("route del default", "route add default "
                + " ".join(f"nexthop via {link.gateway} dev {link.interface}" for link in w.links))
    steer(w)
    result, split = from_all_clients(w, 300)
    all_well(result, 300)
    only(split, "link1", "link2")
    # another lease, another gateway
    other = str(two.network[3])
    w.internet.address(two.interface, f"{other}/28")
    w.router.ip("route del default", f"route add default via {one.gateway}",
                f"route add default via {other} dev {two.interface} metric 100")
    wait_until(lambda: f"default via {other} " in w.router.ip_show("route show table 102"), 5, "the new gateway")
    wait_link(w, "link2", "up")
    result, split = from_all_clients(w, 300)
    all_well(result, 300)
    only(split, "link1", "link2")
    w.router.ip("route del default metric 100")
    wait_link(w, "link2", "down")
    result, split = from_all_clients(w, 300)
    all_well(result, 300)
    only(split, "link1")


def test_gateway_of_a_reload(make_world):
    """Another gateway in the file is that of the link's table when the reload is done."""
    w = make_world(links=2)
    link = w.links[1]
    w.balancer.configure(w.links)
    w.balancer.start()
    other = str(link.network[3])
    w.internet.address(link.interface, f"{other}/28")
    link.keys["gateway"] = other
    w.balancer.configure(w.links)
    w.balancer.command("reload")
    assert f"default via {other} " in w.router.ip_show("route show table 102")


def test_default_comes_back_with_its_source(make_world):
    """Links that share an interface: the default that the daemon puts back has the link's own source address."""
    w = make_world(links=1)
    link = w.links[0]
    link.keys["address"] = own = str(link.network[5])
    w.router.address(link.interface, f"{own}/28")
    steer(w)
    with_source = f"default via {link.gateway} dev {link.interface} .*src {own}"
    assert re.search(with_source, w.router.ip_show("route show table 101"))
    w.router.ip("route del default table 101")
    wait_until(lambda: "default via" in w.router.ip_show("route show table 101"), 10, "the default route")
    assert re.search(with_source, w.router.ip_show("route show table 101"))


def test_shared_interface_loses_the_address_of_one_link(make_world):
    """Its flows would leave with an address that the router no longer has: the link is down meanwhile."""
    w = make_world(links=1)
    one, two = w.links[0], Link("link2", 2)
    w.router.address(one.interface, f"{two.address}/28")
    w.internet.address(one.interface, f"{two.gateway}/28")
    for link in (one, two):
        link.keys |= {"interface": one.interface, "address": link.address, "gateway": link.gateway}
    w.links.append(two)
    steer(w)
    run = w.traffic(flows=20, rate=200)
    all_well(run.result(), 20)
    assert w.server.run(run.run)["by_peer"] == {one.address: 10, two.address: 10}
    w.router.ip(f"address del {two.address}/28 dev {one.interface}")
    wait_link(w, "link2", "down")
    run = w.traffic(flows=20, rate=200)
    all_well(run.result(), 20)
    assert w.server.run(run.run)["by_peer"] == {one.address: 20}
    w.router.address(one.interface, f"{two.address}/28")
    wait_link(w, "link2", "up")
    wait_until(lambda: re.search(rf"default via {two.gateway} dev {one.interface} .*src {two.address}",
                                 w.router.ip_show("route show table 102")), 5, "the default route with its source")
    log = w.balancer.process.log()
    assert "link link2 is down: no address" in log and "link link2 is up: has a way out" in log


def test_another_address_of_the_same_network(make_world):
    """The link's own route to its network does not go on naming the address before as source."""
    w = make_world(links=2)
    link = w.links[1]
    steer(w)
    w.router.sysctl({f"net.ipv4.conf.{link.interface}.promote_secondaries": 1})
    other = str(link.network[5])
    w.router.ip(f"address add {other}/28 dev {link.interface}", f"address del {link.address}/28 dev {link.interface}")
    wait_until(lambda: f"{link.network} dev {link.interface} proto 157 scope link src {other} "
               in w.router.ip_show("route show table 102"), 10, "the route to have the new address")


def test_address_that_somebody_else_has(make_world):
    """IPv6 finds out by itself, and uses such an address no more: so does the link."""
    w = make_world(links=2, ipv6="nat66")
    link = w.links[1]
    steer(w)
    here, there = f"{link.address6}/64 dev {link.interface}", "link link2: no IPv6: no address"
    w.router.sysctl({f"net.ipv6.conf.{link.interface}.accept_dad": 1, f"net.ipv6.conf.{link.interface}.dad_transmits": 1})
    w.router.ip(f"address del {here}")
    w.internet.ip(f"address add {here} nodad")
    w.router.ip(f"address add {here}")
    wait_until(lambda: "dadfailed" in w.router.ip_show(f"-6 address show dev {link.interface}"), 10, "the kernel to know")
    wait_until(lambda: there in status(w.balancer)["troubles"], 5, "the daemon to know")
    result, split = from_all_clients(w, 60, to=w.servers6)
    all_well(result, 60)
    only(split, "link1")
    w.internet.ip(f"address del {here}")
    w.router.ip(f"address del {here}", f"address add {here}")
    wait_until(lambda: there not in status(w.balancer)["troubles"], 10, "the link to have its address")
    assert "cannot set route" not in w.balancer.process.log()


def test_interface_made_again_with_a_strict_filter(make_world):
    """A new interface (PPP dialled in again) gets the default reverse path filter, which drops what comes by it."""
    w = make_world(links=2)
    two = w.links[1]
    w.router.sysctl({"net.ipv4.conf.default.rp_filter": 1, "net.ipv4.conf.wan2.rp_filter": 1})
    steer(w)
    assert two.address in w.router.run("ip", "rule").stdout
    w.router.ip("link del wan2")
    wait_link(w, "link2", "down")
    # its address may be another link's next: no rule must lead it into this one's table
    wait_until(lambda: two.address not in w.router.run("ip", "rule").stdout, 10, "the rule of a gone address")
    w.lab.wire(w.router, "wan2", w.internet, "wan2")
    w.router.address("wan2", f"{two.address}/28")
    w.internet.address("wan2", f"{two.gateway}/28")
    wait_link(w, "link2", "up")
    result, split = from_all_clients(w, 300)
    all_well(result, 300)
    only(split, "link1", "link2")
    w.balancer.stop()
    assert w.router.sh("cat /proc/sys/net/ipv4/conf/wan2/rp_filter").strip() == "1"


# ---- from outside ----

@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
@pytest.mark.parametrize("target", ["router", "lan"])
def test_inbound_is_answered_by_its_link(make_world, target, udp):
    """
    The answer leaves by the link that the connection came in by, even where main has a more
    specific route to the client through another link, with the daemon and without.
    """
    w = make_world(weights=WEIGHTS)
    if target == "lan":
        w.router.run("nft", "-f", "-", stdin="table ip portmap {\nchain pre {\ntype nat hook prerouting priority -100\n"
                     f'iifname "wan*" meta l4proto {{ tcp, udp }} th dport 8080 dnat to {w.client_address(1)}\n}}\n}}\n')
    inside = Server(w.clients[0] if target == "lan" else w.router, "8080")
    steer(w)
    w.router.ip(f"route add 203.0.113.0/24 via {w.links[1].gateway}")
    for daemon in (True, False):
        if not daemon:
            w.balancer.stop_daemon()
        for link in w.links:
            run = Client(w.internet, [link.address], source=w.servers, port=8080, flows=100, rate=1000, packets=3,
                         spread=0.1, udp=udp)
            all_well(run.result(), 100)
            assert inside.run(run.run)["flows"] == 100
            assert w.leaked() == 0, f"answers of {link.name} left by another link"
    assert w.balancer.fallback() == w.balancer.decided() == 0


# ---- other people's routes ----

def test_networks_of_main_win(make_world):
    """LAN, VPN and static inner networks are reached by main's routes, and nobody counts them on a link."""
    w = make_world(weights=WEIGHTS)
    vpn = w.lab.host("vpn")
    w.lab.wire(w.router, "vpn0", vpn, "vpn0")
    w.router.address("vpn0", "10.8.0.1/24")
    vpn.address("vpn0", "10.8.0.2/24", "10.9.0.1/32")
    vpn.ip("route add default via 10.8.0.1")
    steer(w)
    w.router.ip("route add 10.9.0.0/24 via 10.8.0.2")
    behind = Server(vpn, "80")
    for udp in (False, True):
        for to in ("10.8.0.2", "10.9.0.1"):
            run = Client(w.clients[0], [to], port=80, flows=50, rate=0, packets=3, spread=0.1, udp=udp)
            all_well(run.result(), 50)
            # not masqueraded: the client's own address arrives
            assert behind.run(run.run)["by_peer"] == {w.client_address(1): 50}
    result, split = from_all_clients(w, 600)
    all_well(result, 600)
    shares(split, WEIGHTS)


def test_more_specific_route_through_a_link(make_world):
    """It decides for new flows; flows that exist when it appears stay where they are."""
    w = steer(make_world(weights=WEIGHTS))
    for udp in (False, True):
        old = w.traffic(flows=300, rate=1000, packets=10, spread=2, udp=udp)
        wait_until(lambda run=old: w.server.run(run.run)["flows"] == 300, 5)
        w.router.ip(f"route add 203.0.113.0/24 via {w.links[1].gateway}")
        new = w.traffic(w.clients[1], flows=100, rate=1000, packets=3, spread=0.1, udp=udp)
        all_well(new.result(), 100)
        only(w.split(new.run), "link2")
        all_well(old.result(), 300)
        assert w.server.run(old.run)["moved"] == 0
        w.router.ip(f"route del 203.0.113.0/24 via {w.links[1].gateway}")
    assert w.leaked() == 0


# ---- marks and relations ----

def test_foreign_mark_bits_survive(make_world):
    """Bits outside the mask pass through queue, commit and restore, in packets and connections."""
    w = make_world(weights=WEIGHTS)
    w.router.run("nft", "-f", "-", stdin="""
table inet foreign {
	counter good { }
	counter bad { }
	chain before {
		type filter hook prerouting priority -190
		iifname lan0 meta mark set meta mark | 0x00230005
		iifname lan0 ct state new ct mark set ct mark | 0x00450007
	}
	chain after {
		type filter hook postrouting priority 200
		iifname lan0 oifname "wan*" meta mark & 0xffff00ff == 0x00230005 counter name good
		iifname lan0 oifname "wan*" meta mark & 0xffff00ff != 0x00230005 counter name bad
	}
}
""")
    steer(w)

    def count(name):
        return int(re.search(r"packets (\d+)", w.router.run("nft", "list", "counter", "inet", "foreign", name).stdout)[1])

    for daemon in (True, False):
        if not daemon:
            w.balancer.stop_daemon()
        for udp in (False, True):
            run = w.traffic(flows=120, rate=1000, packets=3, spread=0.2, udp=udp)
            all_well(run.result(), 120)
    assert count("bad") == 0
    assert count("good") >= 4 * 120 * 3
    marks = [int(mark) for mark in re.findall(r"src=192\.168\.1\.11 .* mark=(\d+)", w.router.conntrack())]
    assert len(marks) == 4 * 120
    assert {mark & 0xffff00ff for mark in marks} == {0x00450007}
    assert {mark & 0xff00 for mark in marks} == {0x8100, 0x8200, 0x8300}


def test_icmp_errors_come_back_and_are_not_queued(make_world):
    """An error about a flow reaches the client through the flow's own link, and is no new flow."""
    w = steer(make_world(weights=WEIGHTS, providers=True))
    w.internet.sysctl(NO_ICMP_LIMIT)
    run = w.traffic(flows=300, rate=300, port=99, udp=True, timeout=5)
    assert run.result()["failures"] == {"ECONNREFUSED": 300}
    run = w.traffic(flows=300, rate=1000, port=99, timeout=5)
    assert run.result()["failures"] == {"ECONNREFUSED": 300}
    assert (w.balancer.decided(), w.balancer.fallback()) == (600, 0)
    assert w.leaked() == 0


# ---- the router itself ----

@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_local_connections_are_steered_on_request(make_world, udp):
    w = steer(make_world(weights=WEIGHTS), local=True)
    run = w.traffic(w.router, flows=600, rate=2000, packets=3, spread=0.2, udp=udp)
    all_well(run.result(), 600)
    shares(w.split(run.run), WEIGHTS)
    assert w.balancer.fallback() == 0
    # a socket that is bound to a link's address keeps that link; main's default link has the
    # address that every unbound socket gets, so there nobody can tell
    for link in w.links[1:]:
        run = w.traffic(w.router, flows=50, rate=1000, source=link.address, udp=udp)
        all_well(run.result(), 50)
        only(w.split(run.run), link.name)
    result, split = from_all_clients(w, 600, udp=udp)
    all_well(result, 600)
    shares(split, WEIGHTS)
    assert w.leaked() == 0


def test_local_connections_are_left_alone_by_default(make_world):
    w = steer(make_world(weights=WEIGHTS))
    for udp in (False, True):
        run = w.traffic(w.router, flows=100, rate=1000, udp=udp)
        all_well(run.result(), 100)
        only(w.split(run.run), "link1")
    assert w.balancer.decided() == 0
