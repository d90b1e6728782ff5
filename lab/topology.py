# SPDX-License-Identifier: GPL-2.0-or-later
"""
The usual topology.

    client1 .. clientN --- lan0 [ router ] wan1 ---[ provider1 ]--- wan1 [ internet ]
                                           wan2 ---[ provider2 ]--- wan2
                                           ...

All clients share one LAN (a bridge in the router). The internet host has the servers'
addresses and is reached through every link; an answer goes back through the link whose
address (or prefix) the request carried, so the far side can tell who used which link.
Provider hosts stand in between only when asked for; without them the internet host has
the gateways' addresses itself, and a packet has one hop less to make.

    link i   198.51.100.(16(i-1))/28: gateway the first address, router the second
             2001:db8:i::/48, the router's address 2001:db8:i::2, gateway ::1
    LAN      192.168.1.0/24, router .1, clients from .11
             IPv6 "nat66":  2001:db8:aaaa:1::/64, which nobody outside routes
             IPv6 "prefix": 2001:db8:i:1::/64 for every link i, all on each client
    servers  203.0.113.1 .. and 2001:db8:ffff::1 ..
"""

import dataclasses
import ipaddress
import json

from lab.balancer import Balancer
from lab.host import Host
from lab.lab import Lab
from lab.traffic import Client, Server


@dataclasses.dataclass
class Link:
    """One uplink as the lab built it, and as the configuration should describe it."""

    name: str
    id: int
    weight: int = 1
    rate: str = None  # of the wire, both directions: "20mbit"
    nat6: str = None
    keys: dict = dataclasses.field(default_factory=dict)  # more configuration keys

    @property
    def interface(self):
        return f"wan{self.id}"

    @property
    def network(self):
        return ipaddress.ip_network(f"198.51.100.{16 * (self.id - 1)}/28")

    @property
    def gateway(self):
        return str(self.network[1])

    @property
    def address(self):
        return str(self.network[2])

    @property
    def prefix(self):
        return ipaddress.ip_network(f"2001:db8:{self.id:x}::/48")

    @property
    def gateway6(self):
        return str(self.prefix[1])

    @property
    def address6(self):
        return str(self.prefix[2])

    @property
    def lan_prefix(self):
        """The /64 of this provider that the LAN uses without NAT."""
        return ipaddress.ip_network(f"2001:db8:{self.id:x}:1::/64")

    def has(self, address):
        """Does a packet with this source address come through this link?"""
        address = ipaddress.ip_address(address)
        return address in (self.network if address.version == 4 else self.prefix)

    def config(self):
        keys = {"id": self.id, "interface": self.interface, "gateway": self.gateway, "weight": self.weight}
        if self.nat6 == "masquerade":
            keys |= {"gateway6": self.gateway6, "nat6": "masquerade"}
        elif self.nat6 == "none":
            keys |= {"gateway6": self.gateway6, "prefixes6": [str(self.prefix)]}
        return keys | self.keys


class World:
    """The topology above; close() (or `with`) ends it. Made by world()."""

    def __init__(self, links, clients, ipv6, providers, servers, lab=None):
        self.lab = lab or Lab()
        try:
            self.links = links
            self.ipv6 = ipv6
            self.router = self.lab.host("router")
            self.internet = self.lab.host("internet")
            self.clients = [self.lab.host(f"client{n}") for n in range(1, clients + 1)]
            self.servers = [f"203.0.113.{n}" for n in range(1, servers + 1)]
            self.servers6 = [f"2001:db8:ffff::{n:x}" for n in range(1, servers + 1)]
            self._lan()
            self._internet(providers)
            self._watch()
            self.balancer = Balancer(self.router)
            self._server = None
        except BaseException:
            self.lab.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.lab.close()

    # ---- building ----

    def _lan6(self):
        """The LAN's IPv6 networks."""
        if self.ipv6 == "nat66":
            return [ipaddress.ip_network("2001:db8:aaaa:1::/64")]
        return [link.lan_prefix for link in self.links] if self.ipv6 else []

    def _lan(self):
        self.router.ip("link add lan0 type bridge")
        self.router.address("lan0", "192.168.1.1/24", *(f"{net[1]}/64" for net in self._lan6()))
        for n, client in enumerate(self.clients, 1):
            self.lab.wire(client, "eth0", self.router, f"port{n}")
            self.router.ip(f"link set port{n} master lan0")
            client.address("eth0", f"{self.client_address(n)}/24", *(f"{net[10 + n]}/64" for net in self._lan6()))
            client.ip("route add default via 192.168.1.1",
                      *(f"route add default via {net[1]}" for net in self._lan6()[:1]))

    def _internet(self, providers):
        self.internet.address("lo", *(f"{a}/32" for a in self.servers), *(f"{a}/128" for a in self.servers6))
        for link in self.links:
            gate = self.lab.host(f"provider{link.id}") if providers else self.internet
            self.lab.wire(self.router, link.interface, gate, link.interface)
            self.router.address(link.interface, f"{link.address}/28", f"{link.address6}/64")
            gate.address(link.interface, f"{link.gateway}/28", f"{link.gateway6}/64")
            gate.ip(f"route add {link.prefix} via {link.address6}")
            if providers:
                self._behind_provider(link, gate)
            if link.rate:
                self.router.shape(link.interface, link.rate)
                gate.shape(link.interface, link.rate)
        first = self.links[0]
        self.router.ip(f"route add default via {first.gateway}", f"route add default via {first.gateway6}")

    def _behind_provider(self, link, provider):
        near, far = f"198.18.{link.id}.1", f"198.18.{link.id}.2"
        near6, far6 = f"2001:db8:eeee:{link.id:x}::1", f"2001:db8:eeee:{link.id:x}::2"
        provider.forward()
        self.lab.wire(provider, "core", self.internet, link.interface)
        provider.address("core", f"{near}/24", f"{near6}/64")
        self.internet.address(link.interface, f"{far}/24", f"{far6}/64")
        provider.ip(f"route add default via {far}", f"route add default via {far6}")
        self.internet.ip(f"route add {link.network} via {near}", f"route add {link.prefix} via {near6}")

    def _watch(self):
        """Count at the far side what arrives through another link than its address belongs to."""
        rules = "".join(
            f"iifname {link.interface} ip saddr != {link.network} ip saddr != 198.18.0.0/15 counter name leaked\n"
            f"iifname {link.interface} ip6 saddr != {{ {link.prefix}, 2001:db8:eeee::/48, fe80::/10, :: }} "
            "counter name leaked\n"
            for link in self.links)
        self.internet.run("nft", "-f", "-", stdin="table inet watch {\ncounter leaked {}\nchain arrived {\n"
                          "type filter hook prerouting priority -300\n" + rules + "}\n}\n")

    # ---- using ----

    @staticmethod
    def client_address(n):
        """IPv4 address of client n, from 1."""
        return f"192.168.1.{10 + n}"

    def client_address6(self, n, link=None):
        """IPv6 address of client n: of the NAT66 LAN, or in the prefix of a link."""
        return str((link.lan_prefix if link else self._lan6()[0])[10 + n])

    def link(self, name):
        return next(link for link in self.links if link.name == name)

    @property
    def server(self):
        """The traffic server on the internet host: ports 80 and 5000-5019, TCP and UDP."""
        if self._server is None:
            self._server = Server(self.internet, "80", "5000-5019")
        return self._server

    def traffic(self, client: Host = None, to=None, **options):
        """Start traffic from a client (the first one) to the servers; returns a lab.traffic.Client."""
        assert self.server
        options.setdefault("port", "5000-5019")
        return Client(client or self.clients[0], to or self.servers, **options)

    def link_of(self, address):
        """Name of the link that a packet with this source address came through, or None."""
        return next((link.name for link in self.links if link.has(address)), None)

    def leaked(self):
        """
        Packets that came through a link with a source address that is not this link's: without
        source NAT, or with another link's, they would be lost or filtered in the real world.
        """
        listed = json.loads(self.internet.run("nft", "-j", "list", "counter", "inet", "watch", "leaked").stdout)
        return next(c["counter"]["packets"] for c in listed["nftables"] if "counter" in c)

    def split(self, *runs):
        """{link name: flows} of these runs, counted at the far side."""
        counts = {link.name: 0 for link in self.links}
        report = self.server.report()["runs"]
        for run in runs:
            for address, flows in report.get(str(run), {"by_peer": {}})["by_peer"].items():
                name = self.link_of(address)
                counts[name] = counts.get(name, 0) + flows
        return counts


def world(links=3, clients=3, weights=None, rates=None, ipv6=None, providers=False, servers=8, keys=None, lab=None):
    """
    Build the usual topology. `weights` and `rates` per link ([3, 2, 1], ["20mbit", ...]);
    ipv6: None, "nat66" or "prefix"; `keys`: more configuration keys for every link;
    `lab`: a Lab whose host() knows better.
    Links are named link1, link2, ...
    """
    nat6 = {"nat66": "masquerade", "prefix": "none", None: None}[ipv6]
    made = [
        Link(f"link{n}", n, weights[n - 1] if weights else 1, rates[n - 1] if rates else None, nat6, dict(keys or {}))
        for n in range(1, links + 1)
    ]
    return World(made, clients, ipv6, providers, servers, lab)
