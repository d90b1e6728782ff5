# SPDX-License-Identifier: GPL-2.0-or-later
"""
How-to 4: in by a link, out by that link. A server with two gateways: the default
route leads through a firewall abroad, thousands of national routes through the
domestic gateway.

As it was: who sits in the national range and comes in through the firewall gets no
answer, because main has a more specific route. As printed: a `from <address>` table,
and those routes taken away. With ours they may stay.
"""

import ipaddress

import pytest

from howto import OUTSIDE, Site, decided_all, example, well
from lab import Balancer
from lab.traffic import Server

# 3072 networks of the national range, 198.19.0.0/16
NATIONAL = [str(net) for net in ipaddress.ip_network("198.19.0.0/16").subnets(new_prefix=28)][:3072]
NATIVE = "198.19.5.5"

CURE = """
ip route add default via 203.0.113.1 dev eth1 table 200
ip rule add from 203.0.113.2 table 200
ip route add default via 198.51.100.1 dev eth0 table 201
ip rule add from 198.51.100.2 table 201
"""


@pytest.fixture
def site():
    with Site() as made:
        made.internet.ip(f"addr add {NATIVE}/32 dev lo")
        made.server = made.lab.host("server")
        made.provider("abroad", made.server, "eth0", "198.51.100.0/28")
        made.provider("domestic", made.server, "eth1", "203.0.113.0/28")
        made.server.ip("route add default via 198.51.100.1",
                       *(f"route add {net} via 203.0.113.1" for net in NATIONAL))
        Server(made.server, "80", "53")
        made.serve("80", "53")
        made.processes = made.lab.processes
        yield made


def call(site, name, source, **options):
    """Five connections to the server by a provider; what the providers counted, and the client."""
    return site.delta(lambda: site.client(site.internet, to=[site.providers[name].address], source=source,
                                          flows=5, timeout=2, **options))


def answered_by(site, name, source, ports=(80, 53)):
    for port, udp, counter in ((ports[0], False, "tcp_accepted"), (ports[1], True, "udp_sent")):
        grown, run = call(site, name, source, port=port, udp=udp)
        well(run, 5)
        assert {n: g[counter] for n, g in grown.items()} == {n: 5 * (n == name) for n in grown}
        assert not any(g["leaked"] for g in grown.values())


def times_out(site, name, source):
    grown, run = call(site, name, source, port=80)
    assert run.result()["failures"] == {"timeout": 5}
    assert sum(g["leaked"] for g in grown.values()) >= 5, "answers left by the other gateway"


def test_as_it_was(site):
    answered_by(site, "abroad", OUTSIDE)
    answered_by(site, "domestic", NATIVE)
    times_out(site, "abroad", NATIVE)
    times_out(site, "domestic", OUTSIDE)


def test_as_printed(site):
    site.as_printed(site.server, CURE, check=True)
    site.server.ip(*(f"route del {net}" for net in NATIONAL))
    for name in site.providers:
        for source in (OUTSIDE, NATIVE):
            answered_by(site, name, source)
    # the price: what the server itself asks at home goes abroad now
    assert site.split(site.client(site.server, to=[NATIVE], flows=3, port=80)) == {"abroad": 3, "domestic": 0}


def test_ours(site):
    balancer = Balancer(site.server)
    balancer.write(example("howto4-in-and-out.conf"))
    balancer.ids = {"abroad": 1, "domestic": 2}
    balancer.start()
    assert site.server.ip_show("route").count("198.19.") == len(NATIONAL), "the national routes stay"
    for name in site.providers:
        for source in (OUTSIDE, NATIVE):
            answered_by(site, name, source)
    # what the server itself asks follows main as before
    assert site.split(site.client(site.server, to=[NATIVE], flows=3, port=80)) == {"abroad": 0, "domestic": 3}
    assert site.split(site.client(site.server, flows=3, port=80)) == {"abroad": 3, "domestic": 0}
    # and sockets bound to a link's address use that link
    for name, provider in site.providers.items():
        for to in (NATIVE, "192.0.2.1"):
            bound = site.client(site.server, to=[to], flows=2, port=80, source=provider.address)
            assert site.split(bound) == {n: 2 * (n == name) for n in site.providers}
    decided_all(balancer, 0)
    balancer.stop()


def test_ours_with_the_server_behind(site):
    """The same when the gateways belong to a router, and the server is behind its port forwarding."""
    behind = site.lan(site.server, "lan0", "10.4.0.0/24", 1)[0]
    site.server.forward()
    for protocol in ("tcp", "udp"):
        for interface in ("eth0", "eth1"):
            site.server.run("iptables", "-t", "nat", "-A", "PREROUTING", "-i", interface, "-p", protocol, "--dport", "8080",
                            "-j", "DNAT", "--to-destination", "10.4.0.100")
    Server(behind, "8080")
    balancer = Balancer(site.server)
    text = example("howto4-in-and-out.conf")
    assert "lan = { }" in text
    balancer.write(text.replace("lan = { }", 'lan = { "lan0" }'))
    balancer.ids = {"abroad": 1, "domestic": 2}
    balancer.start()
    for name in site.providers:
        for source in (OUTSIDE, NATIVE):
            answered_by(site, name, source, ports=(8080, 8080))
    balancer.stop()
