# SPDX-License-Identifier: GPL-2.0-or-later
"""
How-to 1: two links, an ECMP default route, and files of ports that belong to a link.

As it is printed: an init script with start, stop and restart. Its stop adds the two
rules that it should delete, flushes all of mangle, keeps the masquerade rule and
takes the default route away. Everything without a listed port follows the ECMP
route, which hashes addresses only: one client and one server, one link, always.
"""

import os
import shutil
import sys

import pytest

from howto import EXAMPLES, OUTSIDE, SERVERS, Site, decided_all, example, well
from lab import Balancer, differences, snapshot, wait_until
from lab.traffic import Server

PORTS_LINK1 = "80 443\n20\t21\n"
PORTS_LINK2 = "25 110\n\n143  587\t993\n995\n"
ALL_PORTS = ("25", "53", "80", "110", "143", "443", "587", "993", "995", "8080")
TABLES = ((10, "link1"), (20, "link2"))

SCRIPT = """
LAN=192.168.1.0/24
cd "$2"
start() {
	echo 1 > /proc/sys/net/ipv4/ip_forward
	ip route add 198.51.100.0/28 dev eth1 src 198.51.100.2 table link1
	ip route add 203.0.113.0/28 dev eth2 table link1
	ip route add $LAN dev eth0 table link1
	ip route add 127.0.0.0/8 dev lo table link1
	ip route add default via 198.51.100.1 table link1
	ip route add 203.0.113.0/28 dev eth2 src 203.0.113.2 table link2
	ip route add 198.51.100.0/28 dev eth1 table link2
	ip route add $LAN dev eth0 table link2
	ip route add 127.0.0.0/8 dev lo table link2
	ip route add default via 203.0.113.1 table link2
	ip rule add from 198.51.100.2 table link1
	ip rule add from 203.0.113.2 table link2
	ip rule add fwmark 10 table link1
	ip rule add fwmark 20 table link2
	ip route add default scope global nexthop via 198.51.100.1 dev eth1 weight 1 nexthop via 203.0.113.1 dev eth2 weight 1
	iptables -t nat -A POSTROUTING -s $LAN -j MASQUERADE
	for port in $(cat ports_link1); do
		iptables -t mangle -A PREROUTING -s $LAN -p tcp --dport $port -j MARK --set-mark 10
		iptables -t mangle -A OUTPUT -s $LAN -p tcp --dport $port -j MARK --set-mark 10
	done
	for port in $(cat ports_link2); do
		iptables -t mangle -A PREROUTING -s $LAN -p tcp --dport $port -j MARK --set-mark 20
		iptables -t mangle -A OUTPUT -s $LAN -p tcp --dport $port -j MARK --set-mark 20
	done
}
stop() {@STOP@}
case $1 in
start) start ;;
stop) stop ;;
restart) stop; start ;;
esac
"""

PRINTED = SCRIPT.replace("@STOP@", """
	ip route del default
	ip rule add from 198.51.100.2 table link1
	ip rule add from 203.0.113.2 table link2
	ip rule del fwmark 10 table link1
	ip rule del fwmark 20 table link2
	ip route flush table link1
	ip route flush table link2
	iptables -t mangle -F
""")

# stop takes back what start did, and a default route is there again
MEANT = SCRIPT.replace("ip route add default scope", "ip route replace default scope").replace("@STOP@", """
	ip route replace default via 198.51.100.1
	ip rule del from 198.51.100.2 table link1
	ip rule del from 203.0.113.2 table link2
	ip rule del fwmark 10 table link1
	ip rule del fwmark 20 table link2
	ip route flush table link1
	ip route flush table link2
	iptables -t nat -D POSTROUTING -s $LAN -j MASQUERADE
	iptables -t mangle -F PREROUTING
	iptables -t mangle -F OUTPUT
""")


@pytest.fixture
def site():
    with Site() as made:
        made.router = made.lab.host("router")
        made.pcs = made.lan(made.router, "eth0", "192.168.1.0/24", 2)
        made.provider("link1", made.router, "eth1", "198.51.100.0/28")
        made.provider("link2", made.router, "eth2", "203.0.113.0/28")
        made.serve(*ALL_PORTS)
        made.processes = made.lab.processes
        yield made


def port_files(directory):
    for name, text in (("ports_link1", PORTS_LINK1), ("ports_link2", PORTS_LINK2)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


def listed_ports_use_their_link(site, host, **options):
    for link, text in (("link1", PORTS_LINK1), ("link2", PORTS_LINK2)):
        for port in set(text.split()) - {"20", "21"}:  # FTP has a test of its own
            run = site.client(host, flows=2, port=port, **options)
            well(run, 2)
            assert site.split(run) == {"link1": 2 * (link == "link1"), "link2": 2 * (link == "link2")}, port


def init(site, action, script=PRINTED):
    return site.as_printed(site.router, script, TABLES, arguments=(action, site.lab.directory))


def leftovers(router):
    """What the init script may leave behind: (rules of its tables, masquerade rules, rules in mangle, default routes)"""
    return (len([line for line in router.ip_show("rule").splitlines() if "lookup 10" in line or "lookup 20" in line
                 or "lookup link" in line]),
            router.sh("iptables -t nat -S").count("MASQUERADE"),
            router.sh("iptables -t mangle -S").count("-A "),
            router.ip_show("route").count("default"))


def test_as_printed(site):
    port_files(site.lab.directory)
    site.router.run("iptables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "--dport", "9", "-j", "ACCEPT")
    assert init(site, "start").returncode == 0
    for pc in site.pcs:
        listed_ports_use_their_link(site, pc)
    # ECMP: one client, one server, one link, however many connections; on average it is even
    splits = [site.split(site.client(site.pcs[0], to=[server], flows=6, port=8080)) for server in SERVERS]
    assert all(sorted(split.values()) == [0, 6] for split in splits)
    # port 20 needs a helper, and since Linux 6.0 nobody assigns one unasked
    assert "425 no way" in fetch_by_ftp(site).stderr
    # of the router's own sockets, those bound to its LAN address are marked, and only they
    bound = site.client(site.router, flows=2, port=80, source="192.168.1.1")
    assert site.split(bound) == {"link1": 2, "link2": 0}
    # stop, as printed
    init(site, "stop")
    rules, masquerades, mangle, defaults = leftovers(site.router)
    assert (rules, masquerades) == (4, 1), "two rules more instead of two less, and masquerade is kept"
    assert (mangle, defaults) == (0, 0), "somebody else's rule in mangle is gone, and so is the default route"
    init(site, "start")
    assert leftovers(site.router)[1] == 2, "one more at each restart"


def test_as_meant(site):
    port_files(site.lab.directory)
    site.router.ip("route add default via 198.51.100.1")
    for _ in range(2):
        assert init(site, "start", MEANT).stderr == ""
        listed_ports_use_their_link(site, site.pcs[0])
        init(site, "stop", MEANT)
        assert leftovers(site.router) == (0, 0, 0, 1)
    # a stopped balancer is a router with one link, and a dead link takes its ports with it
    init(site, "start", MEANT)
    site.providers["link2"].go_silent()
    dead = site.client(site.pcs[0], flows=4, port=25, timeout=1).result()
    assert dead["completed"] == 0, "mail keeps to the dead link"


def start(site, text):
    """Our rules and daemon; table names go to a file of the lab"""
    balancer = Balancer(site.router)
    for name in ("ports_link1", "ports_link2"):
        shutil.copy(os.path.join(EXAMPLES, name), balancer.directory)
    balancer.write(text)
    balancer.ids = {"link1": 1, "link2": 2}
    balancer.names = os.path.join(balancer.directory, "rt_tables.d", "nfq-balancer.conf")
    balancer.rules("start", env={"NFQB_RT_TABLES": balancer.names})
    balancer.start_daemon()
    return balancer


def test_ours(site):
    site.router.ip("route add default via 198.51.100.1")
    site.router.run("iptables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "--dport", "9", "-j", "ACCEPT")
    before = snapshot(site.router)
    balancer = start(site, example("howto1-port-files.conf"))
    with open(balancer.names, encoding="utf-8") as file:
        assert [line.split() for line in file if line[0] != "#"] == [["10", "link1"], ["20", "link2"]]

    for pc in site.pcs:
        listed_ports_use_their_link(site, pc)
        # everything else is shared: server by server, and TCP and UDP of one pair alike
        tcp = site.client(pc, flows=len(SERVERS), port=8080)
        udp = site.client(pc, flows=len(SERVERS), port=8080, udp=True)
        for run in (tcp, udp):
            well(run, len(SERVERS))
            assert site.split(run) == {"link1": 4, "link2": 4}
        for server in SERVERS[:2]:
            both = [site.client(pc, to=[server], flows=3, port=8080, udp=udp) for udp in (False, True)]
            assert sorted(site.split(*both).values()) == [0, 6]
    active_ftp(site)

    # the router: as main says, or by the link whose address a socket has
    own = site.client(site.router, flows=4, port=8080)
    assert site.split(own) == {"link1": 4, "link2": 0}
    bound_sockets(site, "link1", "link2")
    from_outside(site)
    decided_all(balancer)
    assert [p.counts()["leaked"] for p in site.providers.values()] == [0, 0]

    # a dead link's ports use the other one
    site.providers["link2"].go_silent()
    wait_until(lambda: balancer.link_state("link2") == "down", 5, "link2 down")
    for port in (25, 8080):
        run = site.client(site.pcs[0], flows=4, port=port)
        well(run, 4)
        assert site.split(run) == {"link1": 4, "link2": 0}
    site.providers["link2"].host.ip("link set cust up")
    # the kernel says of routes, too, that they have no carrier, until it has looked
    wait_until(lambda: balancer.link_state("link2") == "up", 5, "link2 up")

    # a restart leaves nothing twice, a stop leaves the router as it was
    balancer.stop_daemon()
    balancer.rules("restart", env={"NFQB_RT_TABLES": balancer.names})
    balancer.rules("stop", env={"NFQB_RT_TABLES": balancer.names})
    assert differences(before, snapshot(site.router)) == ""
    assert not os.path.exists(balancer.names)


def test_ours_with_the_router(site):
    """The router's own connections follow the port files, too, where that is wanted."""
    site.router.ip("route add default via 198.51.100.1")
    text = example("howto1-port-files.conf").replace('\tsource = { "192.168.1.0/24" }\n', "")
    balancer = start(site, "local = true\n" + text)
    listed_ports_use_their_link(site, site.router)
    # (with the address of main's default link, the kernel cannot tell whether a socket asked for it)
    bound_sockets(site, "link2")
    run = site.client(site.router, flows=2, port=25, source="192.168.1.1")
    well(run, 2)  # by main's default: it is bound to an address that no link has
    assert site.split(run) == {"link1": 2, "link2": 0}
    listed_ports_use_their_link(site, site.pcs[0])
    decided_all(balancer)


def bound_sockets(site, *names):
    """A socket of the router that is bound to a link's address uses that link, whatever its port."""
    for name in names:
        for port in (25, 80):
            run = site.client(site.router, flows=2, port=port, source=site.providers[name].address)
            well(run, 2)
            assert site.split(run) == {n: 2 * (n == name) for n in site.providers}


def fetch_by_ftp(site):
    script = os.path.join(os.path.dirname(__file__), "active_ftp.py")
    server = site.internet.start(sys.executable, script, "serve", name="ftp")
    wait_until(lambda: "ready" in server.log(), 10, "the FTP server")
    return site.pcs[0].run(sys.executable, script, "fetch", SERVERS[3], check=False)


def active_ftp(site):
    """The data connection that the server opens belongs to the link of the control connection."""
    grown, run = site.delta(lambda: fetch_by_ftp(site))
    assert run.stdout == "control 198.51.100.2 data 198.51.100.2\n", run.stderr
    assert {n: g["tcp_accepted"] for n, g in grown.items()} == {"link1": 1, "link2": 0}


def from_outside(site):
    """A connection to the router itself is answered by the link that it came in by."""
    Server(site.router, "22")
    for name, provider in site.providers.items():
        for udp in (False, True):
            grown, run = site.delta(lambda p=provider, u=udp: site.client(
                site.internet, to=[p.address], source=OUTSIDE, port=22, flows=3, udp=u))
            well(run, 3)
            counter = "udp_sent" if udp else "tcp_accepted"
            assert {n: g[counter] for n, g in grown.items()} == {n: 3 * (n == name) for n in grown}
