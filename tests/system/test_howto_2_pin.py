# SPDX-License-Identifier: GPL-2.0-or-later
"""
How-to 2: balance some, pin some. Two providers, a proxy on the router, a server
behind port forwarding.

As it is printed, two of its commands do not run (a misspelt table, --dport without
-p), so SMTP is not pinned; the server on the second provider is answered through
the first; the proxy's TOS is mapped to nothing. As it is meant, all of that works,
but MARK does not end a chain: its last rule that matches wins, ours is the first.
"""

import os
import sys

import pytest

from howto import OUTSIDE, SERVERS, Site, decided_all, example, well
from lab import Balancer, wait_until
from lab.traffic import Server

PARTNER = "203.0.113.99"
TABLES = ((20, "virtua"), (30, "embratel"), (40, "both"))

PRINTED = """
echo 1 > /proc/sys/net/ipv4/ip_forward
ip route add default via 203.0.113.1 dev eth1 table virtua
ip route add default via 198.51.100.1 dev eth2 table embratel
ip route add default table both nexthop via 203.0.113.1 dev eth1 weight 1 nexthop via 198.51.100.1 dev eth2 weight 1
ip rule add fwmark 1 table virtua
ip rule add fwmark 2 table embratell
ip rule add fwmark 3 table both
iptables -t mangle -A PREROUTING -i eth0 -s 10.1.0.100 -j MARK --set-mark 3
iptables -t mangle -A PREROUTING -i eth0 -d 203.0.113.99 -j MARK --set-mark 1
iptables -t mangle -A PREROUTING -i eth0 --dport 25 -j MARK --set-mark 2
iptables -t nat -A PREROUTING -i eth2 -p tcp --dport 8080 -j DNAT --to-destination 10.1.0.102
iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j REDIRECT --to-ports 3128
iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE
iptables -t nat -A POSTROUTING -o eth2 -j MASQUERADE
"""

# the two commands mended, weights as in the text, the server's answers marked, a usable TOS
MEANT = PRINTED.replace("embratell", "embratel").replace("eth0 --dport", "eth0 -p tcp --dport").replace(
    "eth1 weight 1", "eth1 weight 2") + """
iptables -t mangle -A PREROUTING -i eth0 -s 10.1.0.102 -p tcp --sport 8080 -j MARK --set-mark 2
iptables -t mangle -A OUTPUT -m tos --tos 0x20/0xff -j MARK --set-mark 3
"""


@pytest.fixture
def site():
    with Site() as made:
        made.internet.ip(f"addr add {PARTNER}/32 dev lo")
        made.router = made.lab.host("router")
        made.pcs = made.lan(made.router, "eth0", "10.1.0.0/24", 3)
        made.provider("virtua", made.router, "eth1", "203.0.113.0/28")
        made.provider("embratel", made.router, "eth2", "198.51.100.0/28")
        made.router.ip("route add default via 203.0.113.1")
        # a second network on the same wire: not of the office
        made.router.ip("addr add 10.2.0.1/24 dev eth0")
        made.pcs[1].ip("addr add 10.2.0.101/24 dev eth0")
        made.serve("25", "80", "443")
        Server(made.pcs[2], "8080")
        made.processes = made.lab.processes
        yield made


def proxy(site, tos):
    script = os.path.join(os.path.dirname(__file__), "transparent_proxy.py")
    process = site.router.start(sys.executable, script, 3128, tos, name="proxy")
    wait_until(lambda: "ready" in process.log(), 10, "the proxy")


def from_outside(site, name, **options):
    """Five connections to the forwarded port by a provider's address; the growth of the counters, and the client."""
    return site.delta(lambda: site.client(site.internet, to=[site.providers[name].address], source=OUTSIDE, port=8080,
                                          flows=5, timeout=2, **options))


def test_as_printed(site):
    run = site.as_printed(site.router, PRINTED, TABLES)
    assert "embratell" in run.stderr and "--dport" in run.stderr, "two commands do not run"
    # SMTP goes by the default link like everything else
    assert site.split(site.client(site.pcs[1], flows=8, port=25)) == {"virtua": 8, "embratel": 0}
    # the server's answers leave by the other provider, with the wrong address
    grown, run = from_outside(site, "embratel")
    assert run.result()["completed"] == 0 and grown["virtua"]["leaked"] > 0
    # TOS 1 and 2 are ECN bits, and nothing looks at them: the proxy is not balanced
    proxy(site, 0x2)
    assert site.split(site.client(site.pcs[0], flows=8, port=80)) == {"virtua": 8, "embratel": 0}


def test_as_meant(site):
    run = site.as_printed(site.router, MEANT, TABLES)
    assert run.stderr == ""
    for pc in site.pcs[:2]:
        assert site.split(site.client(pc, flows=8, port=25)) == {"virtua": 0, "embratel": 8}
    # one host is balanced, by address: a site keeps its link, whatever one is asked; the rest use the default
    for server in SERVERS[:3]:
        assert sorted(site.split(site.client(site.pcs[0], to=[server], flows=6, port=443)).values()) == [0, 6]
    assert site.split(site.client(site.pcs[1], flows=8, port=443)) == {"virtua": 8, "embratel": 0}
    grown, run = from_outside(site, "embratel")
    well(run, 5)
    assert grown["embratel"]["tcp_accepted"] == 5
    # the last rule wins: mail for the partner is not pinned to the partner's link
    assert site.split(site.client(site.pcs[0], to=[PARTNER], flows=2, port=443)) == {"virtua": 2, "embratel": 0}
    assert site.split(site.client(site.pcs[0], to=[PARTNER], flows=2, port=25)) == {"virtua": 0, "embratel": 2}


@pytest.fixture
def ours(site):
    for interface in ("eth1", "eth2"):
        for protocol in ("tcp", "udp"):
            site.router.run("iptables", "-t", "nat", "-A", "PREROUTING", "-i", interface, "-p", protocol, "--dport", "8080",
                            "-j", "DNAT", "--to-destination", "10.1.0.102")
    site.router.run("iptables", "-t", "nat", "-A", "PREROUTING", "-i", "eth0", "-p", "tcp", "--dport", "80", "-j",
                    "REDIRECT", "--to-ports", "3128")
    balancer = Balancer(site.router)
    balancer.write(example("howto2-balance-and-pin.conf"))
    balancer.ids = {"virtua": 1, "embratel": 2}
    balancer.start()
    yield balancer
    decided_all(balancer)
    assert [p.counts()["leaked"] for p in site.providers.values()] == [0, 0]
    balancer.stop()


def test_ours_balances_and_pins(site, ours):
    # the office: 2:1, by pairs of client and site; a pair keeps its link, whatever it speaks
    runs = [site.client(pc, flows=8, port=443) for pc in site.pcs]
    assert site.split(*runs) == {"virtua": 16, "embratel": 8}
    for server in SERVERS[:4]:
        pair = [site.client(site.pcs[0], to=[server], flows=3, port=443, udp=udp) for udp in (False, True)]
        for run in pair:
            well(run, 3)
        assert sorted(site.split(*pair).values()) == [0, 6]
    # pinned: SMTP, one destination; the rest, and the router's own
    for host, options, link in (
            (site.pcs[0], {"port": 25}, "embratel"),
            (site.pcs[0], {"port": 443, "to": [PARTNER]}, "virtua"),
            (site.pcs[0], {"port": 25, "to": [PARTNER]}, "embratel"),
            (site.pcs[1], {"port": 443, "source": "10.2.0.101"}, "embratel"),
            (site.router, {"port": 443}, "embratel"),
            (site.router, {"port": 25}, "embratel")):
        run = site.client(host, flows=6, **options)
        well(run, 6)
        assert site.split(run) == {name: 6 * (name == link) for name in site.providers}, (host, options)


def test_ours_answers_by_the_same_link(site, ours):
    for name in site.providers:
        for udp in (False, True):
            grown, run = from_outside(site, name, udp=udp)
            well(run, 5)
            counter = "udp_sent" if udp else "tcp_accepted"
            assert {n: g[counter] for n, g in grown.items()} == {n: 5 * (n == name) for n in grown}
    decided_all(ours, 0)  # nobody asked the daemon


def test_ours_with_a_proxy(site, ours):
    proxy(site, 0x20)
    run = site.client(site.pcs[0], flows=6, port=80, to=SERVERS[:6])
    well(run, 6)
    # one connection per site, by weight; the clients' own ended in the router and are on no link
    assert site.split(run) == {"virtua": 4, "embratel": 2}
    decided_all(ours, 6)
    again = site.client(site.pcs[1], flows=6, port=80, to=SERVERS[:6])
    assert again.result()["by_peer"] == run.result()["by_peer"], "a site keeps its link"


def test_ours_with_a_dead_link(site, ours):
    site.providers["embratel"].go_silent()
    wait_until(lambda: ours.link_state("embratel") == "down", 5, "embratel down")
    # balanced and unpinned traffic goes on; SMTP is refused at once, in plain words
    for options in ({"port": 443}, {"port": 443, "source": "10.2.0.101"}):
        run = site.client(site.pcs[1], flows=8, **options)
        well(run, 8)
        assert site.split(run) == {"virtua": 8, "embratel": 0}
    refused = site.client(site.pcs[0], flows=4, port=25).result()
    assert refused["failed"] == 4 and "timeout" not in refused["failures"], refused
