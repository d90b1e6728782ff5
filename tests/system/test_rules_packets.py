# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rules alone do with packets, in every backend that the kernel has; the daemon is away unless a test says so."""

import re

import pytest
from lab import Client, Lab, Server
from lab.balancer import Balancer
from lab.topology import Link
from ruleset import Shims, traces
from steering import all_well, only, shares

WEIGHTS = [3, 1]
MASK, SETTLED, MAIN = 0xFF00, 0x8000, 0xFF00


@pytest.fixture
def start(make_world, backend):
    """start(local=True, ...): two links, NAT in both families, rules started with the backend"""

    def started(ipv6="nat66", snat=False, **top):
        w = make_world(links=2, clients=1, ipv6=ipv6)
        for link in w.links if snat else ():
            link.keys["nat"] = link.address
        for link, weight in zip(w.links, WEIGHTS):
            link.keys["fallback_weight"] = weight
        w.balancer.configure(w.links, **{"source_limit": 0, **top})
        w.balancer.rules("--backend", backend, "start")
        return w

    return started


def counters(w):
    """{"decided": flows, "fallback": flows} of all links"""
    sums = {"decided": 0, "fallback": 0}
    for line in w.balancer.rules("counters").stdout.splitlines():
        kind, _, flows = line.split()
        sums[kind] += int(flows)
    return sums


def marks(host, *words):
    """The conntrack marks of a host's entries that `conntrack -L WORDS` lists"""
    return [int(mark) for mark in re.findall(r" mark=(\d+)", host.conntrack(*words))]


def table(router, name, *chains):
    """A table of somebody else: chains as (hook and priority, rules)"""
    counted = re.findall(r"counter name (\w+)", str(chains))
    router.run("nft", "-f", "-", stdin=f"table inet {name} {{\n" + "".join(f"counter {c} {{ }}\n" for c in counted) + "".join(
        f"chain c{n} {{\ntype filter hook {hook}\n{rules}\n}}\n" for n, (hook, rules) in enumerate(chains)) + "}\n")


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_fallback_splits_by_its_weights(start, udp):
    w = start()
    for servers in (w.servers, w.servers6):
        run = w.traffic(to=servers, flows=80, rate=400, udp=udp)
        all_well(run.result(), 80) if not udp else None
        assert run.result()["completed"] == 80
        shares(w.split(run.run), WEIGHTS)
    assert counters(w) == {"decided": 0, "fallback": 160}
    assert w.leaked() == 0


def test_lan_with_a_wildcard(start):
    """lan = { "tun+" }: interfaces that come and go"""
    w = start(lan=["la+"])
    run = w.traffic(flows=40, rate=400)
    all_well(run.result(), 40)
    shares(w.split(run.run), WEIGHTS)


def test_ipv6_without_nat_keeps_to_its_prefix(start):
    w = start(ipv6="prefix")
    for link in w.links:
        run = w.traffic(to=w.servers6, flows=20, rate=400, source=w.client_address6(1, link))
        all_well(run.result(), 20)
        only(w.split(run.run), link.name)
    assert w.leaked() == 0


def test_inbound_is_answered_by_its_link(start):
    """Though main holds more specific routes to these clients through the other link."""
    w = start()
    one, two = w.links
    w.router.ip(f"route add 203.0.113.0/24 via {two.gateway}", f"route add 2001:db8:ffff::/48 via {two.gateway6}")
    Server(w.router, "80")
    for to, source in ((one.address, w.servers[0]), (one.address6, w.servers6[0])):
        for udp in (False, True):
            run = Client(w.internet, [to], flows=10, rate=200, packets=3, spread=0.2, udp=udp, source=source)
            assert run.result()["completed"] == 10, run.result()
    assert w.leaked() == 0


def test_inbound_to_the_lan_is_answered_by_its_link(start):
    w = start()
    one, two = w.links
    w.router.ip(f"route add 203.0.113.0/24 via {two.gateway}")
    w.router.sh(f"nft add table ip forwarded; nft 'add chain ip forwarded c {{ type nat hook prerouting priority -100; }}'; "
                f"nft add rule ip forwarded c ip daddr {one.address} tcp dport 80 dnat to {w.client_address(1)}")
    Server(w.clients[0], "80")
    run = Client(w.internet, [one.address], flows=10, rate=200, packets=3, spread=0.2, source=w.servers[0])
    all_well(run.result(), 10)
    assert w.leaked() == 0


def behind(w, interface, network, port):
    """A server, .2 of the network, behind an interface of the router, .1, that is neither LAN nor link"""
    host = w.lab.host("behind")
    w.lab.wire(w.router, interface, host, "eth0")
    w.router.address(interface, f"{network}.1/24")
    host.address("eth0", f"{network}.2/24")
    host.ip(f"route add default via {network}.1")
    Server(host, str(port))
    return host


def test_inbound_to_another_network_is_answered_by_its_link(start):
    """A port forwarded to a container's network, say, which is not among `lan`"""
    w = start()
    behind(w, "br0", "192.168.9", 82)
    w.router.sh("iptables -t nat -A PREROUTING -p tcp --dport 82 -j DNAT --to-destination 192.168.9.2")
    for link in w.links:
        run = Client(w.internet, [link.address], source=w.servers[0], port="82", flows=10, rate=200)
        all_well(run.result(), 10)


def test_foreign_bits_survive(start):
    """In the packet mark and in the conntrack mark, of the first packet and of all others."""
    w = start()
    table(w.router, "others",
          ("prerouting priority -300", "iifname lan0 meta mark set meta mark | 0x10010"),
          ("prerouting priority -199", "iifname lan0 ct mark set ct mark | 0x20020"),
          ("postrouting priority 200", "oifname wan* meta l4proto tcp meta mark & 0x10010 != 0x10010 counter name lost\n"
           "oifname wan* meta l4proto tcp ct mark & 0x20020 != 0x20020 counter name lost\noifname wan* counter name seen"))
    run = w.traffic(flows=20, rate=200, packets=3, spread=0.2)
    all_well(run.result(), 20)
    assert set(marks(w.router, "-p", "tcp")) == {0x20020 | SETTLED | link.id << 8 for link in w.links}
    counted = w.router.run("nft", "list", "counters", "table", "inet", "others").stdout
    assert re.search(r"counter lost \{\s+packets 0 ", counted) and not re.search(r"counter seen \{\s+packets 0 ", counted)


def test_more_specific_route_settles_on_its_link(start):
    w = start()
    w.router.ip(f"route add {w.servers[0]} via {w.links[1].gateway}", f"route add {w.servers6[0]} via {w.links[1].gateway6}")
    for servers in (w.servers[:1], w.servers6[:1]):
        run = w.traffic(to=servers, flows=20, rate=200, packets=3, spread=0.2)
        all_well(run.result(), 20)
        only(w.split(run.run), "link2")
    assert set(marks(w.router, "-p", "tcp")) == {SETTLED | 2 << 8}
    assert w.leaked() == 0


def test_other_networks_win_and_are_not_ours(start):
    """A VPN, say: its route in main wins, and the flow is marked as nobody's."""
    w = start()
    vpn = behind(w, "tun0", "10.9.0", 80)
    run = Client(w.clients[0], ["10.9.0.2"], flows=10, rate=200, packets=3, spread=0.2)
    all_well(run.result(), 10)
    assert set(marks(w.router, "-p", "tcp")) == {MAIN}
    # and the other way round: what comes from there is left alone
    Server(w.clients[0], "81")
    run = Client(vpn, [w.client_address(1)], port="81", flows=10, rate=200)
    all_well(run.result(), 10)


def test_proxied_connections_are_on_no_link(start):
    """REDIRECT comes after the decision: a connection that ended in the router belongs to none."""
    w = start()
    w.router.sh("nft add table ip proxy; nft 'add chain ip proxy c { type nat hook prerouting priority -100; }'; "
                "nft add rule ip proxy c iifname lan0 tcp dport 80 redirect to :3128")
    Server(w.router, "3128")
    run = w.traffic(to=w.servers, port="80", flows=10, rate=200, packets=3, spread=0.2)
    all_well(run.result(), 10)
    # a NAT table of others may end the packet's way before the iptables backends look
    assert set(marks(w.router, "-p", "tcp")) <= {0, MAIN}


def test_guard_lets_no_flow_out_of_another_link(start):
    """
    With a link's ip rules gone its packets go by main, that is, towards the other link. (Where
    an address is masqueraded the kernel notices itself; where it is stated, only the guard does.)
    """
    w = start(snat=True)
    run = w.traffic(flows=20, rate=200, udp=True)
    assert run.result()["completed"] == 20
    before = w.split(run.run)
    for preference in (10001, 10004):
        for mark in ("0x8200", "0x200"):
            w.router.run("ip", "rule", "del", "pref", preference, "fwmark", f"{mark}/0xff00", check=False)
    again = w.traffic(flows=20, rate=200, udp=True, run=run.run, timeout=1)  # the same ports: known flows
    again.result()
    assert w.leaked() == 0
    assert before["link2"] > 0


def test_reject_is_answered_at_once(start, backend):
    w = start()
    between = -150 if backend.startswith("nft") else -120
    table(w.router, "decider", (f"prerouting priority {between}",
                                "meta mark & 0xff00 == 0x8000 meta mark set meta mark & 0xffff00ff | 0xfe00"))
    run = w.traffic(flows=5, rate=200, timeout=15)
    assert run.result(10)["failures"] and run.result()["completed"] == 0
    assert sum(w.split(run.run).values()) == 0
    assert marks(w.router, "-p", "tcp") == []


def test_without_fallback_nothing_leaves_undecided(start):
    w = start(fallback=False)
    run = w.traffic(flows=5, rate=200, udp=True, timeout=1)
    assert run.result()["completed"] == 0
    assert sum(w.split(run.run).values()) == 0
    w.balancer.start_daemon()
    run = w.traffic(flows=20, rate=200)
    all_well(run.result(), 20)
    assert counters(w) == {"decided": 20, "fallback": 0}


def test_without_fallback_a_source_beyond_its_limit_waits(start):
    w = start(fallback=False, source_limit=5)
    w.balancer.start_daemon()
    run = w.traffic(flows=60, rate=2000, udp=True, timeout=1)
    completed = run.result()["completed"]
    assert 0 < completed < 60
    assert sum(w.split(run.run).values()) == completed
    assert counters(w) == {"decided": completed, "fallback": 0}


def test_daemon_decides_and_is_counted(start):
    w = start()
    w.balancer.start_daemon()
    for servers in (w.servers, w.servers6):
        run = w.traffic(to=servers, flows=40, rate=400)
        all_well(run.result(), 40)
        shares(w.split(run.run), [1, 1])
    assert counters(w) == {"decided": 80, "fallback": 0}


def test_connections_older_than_the_rules_are_left_alone(start, backend):
    """Of those that nobody answers every packet is NEW, and their NAT is settled: asking the daemon would be in vain."""
    w = start()
    w.balancer.rules("stop")
    w.router.forward()
    table(w.router, "tracking", ("forward priority 0", "ct state new accept"))
    nobody = "203.0.113.99"
    old = w.traffic(to=[nobody], flows=5, rate=100, udp=True, timeout=0.2)
    assert old.result()["completed"] == 0
    w.balancer.rules("--backend", backend, "start")
    w.balancer.start_daemon()
    again = w.traffic(to=[nobody], flows=5, rate=100, udp=True, timeout=0.2, run=old.run)
    assert again.result()["completed"] == 0
    assert marks(w.router, "-p", "udp", "-d", nobody) == [0] * 5
    assert w.router.sh("cat /proc/net/netfilter/nfnetlink_queue").split()[7] == "0", "packets that were queued"


def test_source_beyond_its_limit_takes_the_fallback(start):
    w = start(source_limit=20)
    w.balancer.start_daemon()
    for servers in (w.servers, w.servers6):
        before = counters(w)
        run = w.traffic(to=servers, flows=200, rate=2000)
        all_well(run.result(), 200)
        after = counters(w)
        decided, fallback = (after[kind] - before[kind] for kind in ("decided", "fallback"))
        assert decided + fallback == 200
        # the limit for each second, and as much at once before
        assert 20 <= decided <= max(100, 20 * (run.result()["seconds"] + 2)) and fallback > 0


@pytest.mark.parametrize("daemon", [False, True], ids=["fallback", "daemon"])
def test_local_connections(start, backend, daemon):
    """The router's own: steered, with the chosen link's address; bound ones stay where they are bound."""
    w = start(local=True)
    assert w.server
    if daemon:
        w.balancer.start_daemon()
    for servers in (w.servers, w.servers6):
        run = Client(w.router, servers, port="5000-5019", flows=40, rate=400, packets=3, spread=0.2)
        all_well(run.result(), 40)
        if daemon or backend != "iptables-nft":  # there newer kernels leave it on main's default link
            shares(w.split(run.run), [1, 1] if daemon else WEIGHTS)
    assert counters(w)["decided" if daemon else "fallback"] == 80
    for source, servers in ((w.links[1].address, w.servers), (w.links[1].address6, w.servers6)):
        run = Client(w.router, servers, port="5000-5019", flows=10, rate=400, source=source)
        all_well(run.result(), 10)
        only(w.split(run.run), "link2")
    assert w.leaked() == 0


def test_local_connections_are_left_alone(start):
    w = start()
    assert w.server
    run = Client(w.router, w.servers, port="5000-5019", flows=10, rate=400)
    all_well(run.result(), 10)
    only(w.split(run.run), "link1")
    assert set(marks(w.router, "-p", "tcp")) == {0}


def test_tunnel_does_not_inherit_the_link(start):
    """IPIP copies the inner packet's mark to the outer one, which has a way of its own."""
    w = start()
    made = w.router.run("ip", "link", "add", "tun9", "type", "ipip", "local", w.links[0].address, "remote",
                        w.servers[0], check=False)
    if made.returncode:
        pytest.skip("this kernel has no IPIP")
    w.router.address("tun9", "10.8.0.1/24")
    w.router.ip("route add 10.7.0.0/16 dev tun9")
    table(w.router, "watch", ("postrouting priority 200", "ip protocol 4 meta mark & 0xff00 != 0 counter name marked\n"
                              "ip protocol 4 counter name outer"))
    w.traffic(to=["10.7.0.1"], flows=5, rate=100, udp=True, timeout=1).result()
    counted = w.router.run("nft", "list", "counters", "table", "inet", "watch").stdout
    assert re.search(r"counter marked \{\s+packets 0 ", counted), counted
    assert not re.search(r"counter outer \{\s+packets 0 ", counted), counted


def test_restart_keeps_flows_and_loses_nothing(start):
    w = start()
    run = w.traffic(flows=100, rate=200, packets=10, spread=2)
    udp = w.traffic(flows=100, rate=200, packets=10, spread=2, udp=True)
    for _ in range(3):
        w.balancer.rules("restart")
    all_well(run.result(), 100)
    result = udp.result()
    assert result["completed"] == 100 and result["answers"] == result["requests"] and result["moved"] == 0


def test_two_links_on_one_interface(backend):
    """Told apart by the router's address on each, in both directions."""
    with Lab() as made:
        router, internet, client = (made.host(name) for name in ("router", "internet", "client1"))
        made.wire(router, "lan0", client, "eth0")
        made.wire(router, "wan0", internet, "wan0")
        router.address("lan0", "192.168.1.1/24")
        client.address("eth0", "192.168.1.11/24")
        client.ip("route add default via 192.168.1.1")
        links = [Link("link1", 1), Link("link2", 2)]
        internet.address("lo", "203.0.113.1/32")
        for link, weight in zip(links, WEIGHTS):
            router.address("wan0", f"{link.address}/28")
            internet.address("wan0", f"{link.gateway}/28")
            link.keys |= {"interface": "wan0", "address": link.address, "fallback_weight": weight}
        router.ip(f"route add default via {links[0].gateway}")
        balancer = Balancer(router)
        balancer.configure(links, source_limit=0)
        balancer.rules("--backend", backend, "start")
        server = Server(internet, "80")
        run = Client(client, ["203.0.113.1"], flows=40, rate=200, packets=3, spread=0.2)
        all_well(run.result(), 40)
        assert server.run(run.run)["by_peer"] == {links[0].address: 30, links[1].address: 10}
        Server(router, "80")
        for link in links:
            run = Client(internet, [link.address], flows=5, rate=100, source="203.0.113.1")
            all_well(run.result(), 5)
            assert len([m for m in marks(router, "--dst", link.address, "-p", "tcp") if m == SETTLED | link.id << 8]) == 5


def test_helper_is_assigned(start):
    w = start()
    w.balancer.configure(w.links, helpers=["ftp"])
    if w.balancer.rules("restart", check=False).returncode:
        pytest.skip("this kernel has no FTP helper")
    Server(w.internet, "21")
    run = w.traffic(port="21", flows=5, rate=100)
    all_well(run.result(), 5)
    assert w.router.conntrack("-p", "tcp").count("helper=ftp") == 5
    w.balancer.rules("restart")
    w.balancer.configure(w.links)
    w.balancer.rules("restart")
    assert "helper" not in w.router.run("nft", "list", "ruleset").stdout
    assert "rules     as made" in w.balancer.rules("status").stdout


def test_helper_that_the_kernel_lacks_is_one_clear_line(make_world, backend):
    w = make_world(links=2, clients=1)
    w.balancer.configure(w.links, helpers=["ftp"])
    shims = Shims(w.router)
    if backend.startswith("nft"):
        shims.put("nft", "-f\\ -", 2)  # the first one tries the backend
    else:
        shims.put(backend, "*--helper*", 1)
    result = w.balancer.rules("--backend", backend, "start", check=False, env=shims.env)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "helper ftp: the kernel has none" in result.stderr
    assert traces(w.router) == ""
