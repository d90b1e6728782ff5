# SPDX-License-Identifier: GPL-2.0-or-later
"""
How-to 5: a VPN server behind two routers. One interface is link and LAN at once,
both routers stand in it, do the NAT, and forward services to an address of the
server each.

    outside --[ isp1 ]-- router1 .1 --+
                                      +-- 192.168.1.0/24 -- server .10 .20 == tun0 == VPN client
    outside --[ isp2 ]-- router2 .2 --+-- pc

As it was: whatever comes in by the second router is answered through the first. As
printed: one `from` table per address. A UDP socket bound to no address may answer
from the wrong one, then as now: no rule can mend that.
"""

import sys

import pytest

from howto import OUTSIDE, Site, decided_all, example, well
from lab import Balancer, wait_until
from lab.host import PATIENCE
from lab.paths import DAEMON
from lab.traffic import Server

PRINTED = """
ip route add default via 192.168.1.1 table 101
ip rule add from 192.168.1.10 table 101
ip route add default via 192.168.1.2 table 102
ip rule add from 192.168.1.20 table 102
"""

# An echo service that asks nobody by which address it was called
WILDCARD = """
import socket, sys
service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
service.bind((sys.argv[1], 1195))
print("ready", flush=True)
while True:
    service.sendto(*service.recvfrom(2048))
"""

# A client that takes an answer from whom it asked, or none
ASK = """
import socket, sys
ask = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ask.bind((sys.argv[2], 0))
ask.connect((sys.argv[1], 1195))
ask.settimeout(float(sys.argv[3]))
ask.send(b"hello")
try:
    print(ask.recv(2048).decode())
except OSError:
    print("no answer")
"""


@pytest.fixture
def site():
    with Site() as made:
        switch = made.lab.host("switch")
        switch.ip("link add lan type bridge", "link set lan up")
        made.server, made.pc = made.lab.host("server"), made.lab.host("pc")
        made.routers = [made.lab.host("router1"), made.lab.host("router2")]
        for n, (host, interface) in enumerate([(made.server, "eth0"), (made.pc, "eth0"), *((r, "lan") for r in made.routers)]):
            made.lab.wire(host, interface, switch, f"port{n}")
            switch.ip(f"link set port{n} master lan")
        made.server.address("eth0", "192.168.1.10/24", "192.168.1.20/24")
        made.server.ip("route add default via 192.168.1.1")
        made.pc.address("eth0", "192.168.1.100/24")
        made.pc.ip("route add default via 192.168.1.10")
        for n, (router, network) in enumerate(zip(made.routers, ("198.51.100.0/28", "203.0.113.0/28")), 1):
            router.forward()
            router.address("lan", f"192.168.1.{n}/24")
            provider = made.provider(f"router{n}", router, "wan", network)
            router.ip(f"route add default via {provider.gateway}", f"route add 10.8.0.0/24 via 192.168.1.{10 * n}")
            router.sh("iptables -t nat -A POSTROUTING -o wan -j MASQUERADE\n" + "".join(
                f"iptables -t nat -A PREROUTING -i wan -p {protocol} -j DNAT --to-destination 192.168.1.{10 * n}\n"
                for protocol in ("tcp", "udp")))
        vpn_client(made)
        Server(made.server, "25", "80", "1194")
        made.serve("25", "80", "53")
        made.processes = made.lab.processes
        yield made


def vpn_client(site):
    """What comes out of the tunnel. A guide to one-armed routers turns redirects off."""
    site.vpn = site.lab.host("vpn")
    site.lab.wire(site.vpn, "tun0", site.server, "tun0")
    site.server.address("tun0", "10.8.0.1/24")
    site.vpn.address("tun0", "10.8.0.2/24")
    site.vpn.ip("route add default via 10.8.0.1")
    site.server.forward()
    site.server.sysctl({"net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.eth0.send_redirects": 0})


def call(site, name, port, udp):
    """Five connections from outside to a router's address; what the providers counted, and the client."""
    return site.delta(lambda: site.client(site.internet, to=[site.providers[name].address], source=OUTSIDE, port=port,
                                          udp=udp, flows=5, timeout=2))


def answered_by_its_router(site):
    for name in site.providers:
        for port, udp, counter in ((80, False, "tcp_accepted"), (25, False, "tcp_accepted"), (1194, True, "udp_sent")):
            grown, run = call(site, name, port, udp)
            well(run, 5)
            assert {n: g[counter] for n, g in grown.items()} == {n: 5 * (n == name) for n in grown}


def asked_by_udp(site, bound):
    """What a client hears by each router from an echo service bound to these addresses ("" is any)"""
    services = [site.server.start(sys.executable, "-c", WILDCARD, address, name="echo") for address in bound]
    for service in services:
        wait_until(lambda s=service: "ready" in s.log(), 10, "the echo service")
    # the one that is not answered is waited for in vain
    patience = {"router1": 10, "router2": 1 if bound == [""] else 10}
    heard = [site.internet.run(sys.executable, "-c", ASK, provider.address, OUTSIDE, patience[name] * PATIENCE).stdout.strip()
             for name, provider in site.providers.items()]
    for service in services:
        service.stop()
    return heard


def split_of(site, host, name, flows=4, **options):
    """All of these flows leave through this router."""
    run = site.client(host, flows=flows, **options)
    well(run, flows)
    assert site.split(run) == {n: flows * (n == name) for n in site.providers}


def test_as_it_was(site):
    grown, run = call(site, "router1", 80, False)
    well(run, 5)
    grown, run = call(site, "router2", 80, False)
    assert run.result()["completed"] == 0
    assert grown["router2"]["tcp_accepted"] == 0, "answers went to the first router, which knows nothing of them"


def test_as_printed(site):
    site.as_printed(site.server, PRINTED, check=True)
    answered_by_its_router(site)
    assert asked_by_udp(site, [""]) == ["hello", "no answer"]
    assert asked_by_udp(site, ["192.168.1.10", "192.168.1.20"]) == ["hello", "hello"]
    # services of different providers: only for what is bound to their addresses
    split_of(site, site.vpn, "router1", port=25)


def test_ours(site):
    balancer = Balancer(site.server)
    balancer.write(example("howto5-two-routers.conf"))
    balancer.ids = {"router1": 1, "router2": 2}
    balancer.start()
    answered_by_its_router(site)
    assert asked_by_udp(site, [""]) == ["hello", "no answer"], "no rule can mend that"
    assert asked_by_udp(site, ["192.168.1.10", "192.168.1.20"]) == ["hello", "hello"]
    # services by provider, for those in the VPN
    split_of(site, site.vpn, "router1", port=80)
    split_of(site, site.vpn, "router2", port=25)
    split_of(site, site.vpn, "router1", port=53, udp=True)
    # hosts in the LAN reach each other and the VPN as before
    Server(site.pc, "80")
    well(site.client(site.vpn, to=["192.168.1.100"], flows=3, port=80), 3)
    well(site.client(site.pc, to=["192.168.1.10", "192.168.1.20"], flows=4, port=80), 4)
    split_of(site, site.pc, "router1", port=25)  # beside us, not steered
    # the server's own: by main, or by the address that a socket is bound to
    split_of(site, site.server, "router1", port=25)
    split_of(site, site.server, "router2", port=80, source="192.168.1.20")
    decided_all(balancer)
    assert [p.counts()["leaked"] for p in site.providers.values()] == [0, 0]
    balancer.stop()


def test_ours_with_hosts_beside(site):
    """
    Hosts that have the server as their gateway. Their answers come back through it only
    with NAT; without, the kernel sees half of each connection, and a warning says so.
    """
    one = example("howto5-two-routers.conf").replace('lan = { "tun+" }', 'lan = { "eth0", "tun+" }')
    balancer = Balancer(site.server)
    balancer.write(one)
    run = site.server.run(DAEMON, "-c", balancer.config_path, "-n")
    assert run.stderr.count("without NAT") == 2 and '"eth0"' in run.stderr, run.stderr
    balancer.write(one.replace("nat = none", "nat = masquerade"))
    balancer.ids = {"router1": 1, "router2": 2}
    balancer.start()
    answered_by_its_router(site)
    for host in (site.pc, site.vpn):
        split_of(site, host, "router1", port=80)
        split_of(site, host, "router2", port=25)
        split_of(site, host, "router1", port=53, udp=True)
    well(site.client(site.pc, to=["192.168.1.10", "192.168.1.20"], flows=4, port=80), 4)
    decided_all(balancer)
    balancer.stop()


def test_local_steering_is_refused(site):
    balancer = Balancer(site.server)
    balancer.write("local = true\n" + example("howto5-two-routers.conf").replace('"tun+"', '"eth0"'))
    run = site.server.run(DAEMON, "-c", balancer.config_path, "-n", check=False)
    assert run.returncode == 1
    for word in ("router1", "eth0", "local = true", "without NAT"):
        assert word in run.stderr, run.stderr
