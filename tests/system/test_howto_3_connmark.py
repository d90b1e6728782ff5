# SPDX-License-Identifier: GPL-2.0-or-later
"""
How-to 3: three PCs, two ADSL lines, connmark and `statistic --mode nth`.

As it is printed: TCP alone is balanced, 1:1 for ever; its rules for new connections
name no input interface and roll again for a retransmitted SYN; a dead line keeps
half of the connections. Routes have no gateway, each line its own SNAT.
"""

import pytest

from howto import OUTSIDE, Site, decided_all, example, well
from lab import Balancer, wait_until
from lab.traffic import Server

# What it types, with rp_filter off and its LOG chains
PRINTED = """
echo 1 > /proc/sys/net/ipv4/ip_forward
for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done
ip route add default dev ppp0 table 1
ip route add default dev ppp1 table 2
ip rule add fwmark 1 table 1
ip rule add fwmark 2 table 2
ip route add default dev ppp0
iptables -t mangle -N LINE1
iptables -t mangle -A LINE1 -j LOG --log-prefix 'line 1: '
iptables -t mangle -A LINE1 -j MARK --set-mark 1
iptables -t mangle -A LINE1 -j CONNMARK --save-mark
iptables -t mangle -N LINE2
iptables -t mangle -A LINE2 -j LOG --log-prefix 'line 2: '
iptables -t mangle -A LINE2 -j MARK --set-mark 2
iptables -t mangle -A LINE2 -j CONNMARK --save-mark
iptables -t mangle -A PREROUTING -i eth0 -j CONNMARK --restore-mark
iptables -t mangle -A PREROUTING -p tcp -m conntrack --ctstate NEW -m statistic --mode nth --every 2 --packet 0 -j LINE1
iptables -t mangle -A PREROUTING -p tcp -m conntrack --ctstate NEW -m statistic --mode nth --every 2 --packet 1 -j LINE2
iptables -t nat -A POSTROUTING -o ppp0 -j SNAT --to-source 198.51.100.10
iptables -t nat -A POSTROUTING -o ppp1 -j SNAT --to-source 203.0.113.10
"""

# any protocol, from the LAN only, and nothing rolls twice
MEANT = PRINTED.replace(
    "PREROUTING -p tcp -m conntrack --ctstate NEW -m statistic", "PREROUTING -i eth0 -m mark --mark 0 -m statistic").replace(
    "--every 2 --packet 1", "--every 1 --packet 0")


@pytest.fixture
def site():
    with Site() as made:
        made.router = made.lab.host("router")
        made.pcs = made.lan(made.router, "eth0", "192.168.0.0/24", 3)
        made.provider("adsl1", made.router, "ppp0", "198.51.100.0/28", address=10, arp_for_all=True)
        made.provider("adsl2", made.router, "ppp1", "203.0.113.0/28", address=10, arp_for_all=True)
        made.serve("80", "53")
        made.processes = made.lab.processes
        yield made


def from_pcs(site, flows, **options):
    return [site.client(pc, flows=flows, **options) for pc in site.pcs]


def connections(site):
    """What it reads to see who got which line; some kernels have no such file"""
    return site.router.sh("cat /proc/net/nf_conntrack || conntrack -L")


def test_as_printed(site):
    site.as_printed(site.router, PRINTED, check=True)
    assert site.split(*from_pcs(site, 20, port=80)) == {"adsl1": 30, "adsl2": 30}
    seen = connections(site)
    assert "mark=1 " in seen and "mark=2 " in seen
    # TCP only
    assert site.split(*from_pcs(site, 20, port=53, udp=True)) == {"adsl1": 60, "adsl2": 0}
    # a dead line keeps its half; a SYN sent again may roll the other line, with this one's address
    site.providers["adsl2"].go_silent()
    failed = sum(run.result()["failed"] for run in from_pcs(site, 10, port=80, timeout=2))
    assert 10 <= failed <= 20, "about half of 30"


def test_as_meant(site):
    site.as_printed(site.router, MEANT, check=True)
    for options in ({"port": 80}, {"port": 53, "udp": True}):
        assert site.split(*from_pcs(site, 20, **options)) == {"adsl1": 30, "adsl2": 30}
    site.providers["adsl2"].go_silent()
    assert sum(run.result()["failed"] for run in from_pcs(site, 10, port=80, timeout=2)) == 15, "a dead line keeps half"
    assert [p.counts()["leaked"] for p in site.providers.values()] == [0, 0]


def test_ours(site):
    site.router.ip("route add default dev ppp0")
    balancer = Balancer(site.router)
    balancer.write(example("howto3-nth.conf"))
    balancer.ids = {"adsl1": 1, "adsl2": 2}
    balancer.start()

    # any protocol, each PC
    for options in ({"port": 80}, {"port": 53, "udp": True}):
        for pc in site.pcs:
            run = site.client(pc, flows=20, **options)
            well(run, 20)
            assert site.split(run) == {"adsl1": 10, "adsl2": 10}
    decided_all(balancer, 120)
    seen = connections(site)
    assert f"mark={0x8100} " in seen and f"mark={0x8200} " in seen

    # from outside, by each line; and the router's own
    Server(site.router, "22")
    for name, provider in site.providers.items():
        grown, run = site.delta(lambda p=provider: site.client(
            site.internet, to=[p.address], source=OUTSIDE, port=22, flows=5))
        well(run, 5)
        assert {n: g["tcp_accepted"] for n, g in grown.items()} == {n: 5 * (n == name) for n in grown}
    own = site.client(site.router, flows=5, port=80)
    well(own, 5)
    assert site.split(own) == {"adsl1": 5, "adsl2": 0}

    # a dead line takes no new connection, and comes back
    site.providers["adsl2"].go_silent()
    wait_until(lambda: balancer.link_state("adsl2") == "down", 5, "adsl2 down")
    for run in from_pcs(site, 10, port=80):
        well(run, 10)
        assert site.split(run) == {"adsl1": 10, "adsl2": 0}
    site.providers["adsl2"].host.ip("link set cust up")
    wait_until(lambda: balancer.link_state("adsl2") == "up", 5, "adsl2 up")
    runs = from_pcs(site, 10, port=53)
    assert site.split(*runs) == {"adsl1": 15, "adsl2": 15}
    assert [p.counts()["leaked"] for p in site.providers.values()] == [0, 0]
    balancer.stop()
