# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the five how-tos share: providers that count, and a place to run old scripts in.

    inside --- router ---[ provider A ]--- internet
                     \\---[ provider B ]---/

A provider is a host of its own, as strict as real ones: a packet from the customer
whose source is not in the provider's network is counted and dropped. So a wrong
link never helps, and what a provider counts is what really left by that link.
The internet host has all outside addresses, servers and clients alike.
"""

import ipaddress
import json
import os

import lab
from lab import paths
from lab.host import PATIENCE
from lab.traffic import Client, Server

COUNTERS = ("tcp_opened", "tcp_accepted", "udp_sent", "leaked")
SERVERS = [f"192.0.2.{n}" for n in range(1, 9)]
EXAMPLES = os.path.join(paths.ROOT, "scripts", "examples")
OUTSIDE = "192.0.2.100"  # a client out there


class Provider:
    """One provider: gateway of `network` (its first address) on a wire to the customer's interface."""

    def __init__(self, site, number, customer, interface, network, address=2, arp_for_all=False):
        self.network = ipaddress.ip_network(network)
        self.gateway = str(self.network[1])
        self.address = str(self.network[address])  # the customer's
        self.host = site.lab.host(f"isp{number}")
        self.host.forward()
        site.lab.wire(customer, interface, self.host, "cust")
        site.lab.wire(self.host, "core", site.internet, f"isp{number}")
        self.host.address("cust", f"{self.gateway}/{self.network.prefixlen}")
        customer.address(interface, f"{self.address}/{self.network.prefixlen}")
        self.host.address("core", f"198.18.{number}.1/24")
        site.internet.address(f"isp{number}", f"198.18.{number}.2/24")
        self.host.ip(f"route add default via 198.18.{number}.2")
        site.internet.ip(f"route add {network} via 198.18.{number}.1")
        if arp_for_all:  # the other end of a route without a gateway
            self.host.sysctl({"net.ipv4.conf.cust.proxy_arp": 1, "net.ipv4.neigh.cust.proxy_delay": 0})
        self._watch()

    def _watch(self):
        declared = "".join(f"counter {name} {{}}\n" for name in COUNTERS)
        self.host.run("nft", "-f", "-", stdin=f"""table inet watch {{
            {declared}
            set accepted {{
                typeof ip saddr . tcp sport . ip daddr . tcp dport
                flags dynamic
            }}
            chain through {{
                type filter hook forward priority 0
                iifname != "cust" accept
                ip saddr != {self.network} counter name leaked drop
                tcp flags & (syn | ack) == syn counter name tcp_opened
                tcp flags & (syn | ack) == (syn | ack) jump accepts
                meta l4proto udp counter name udp_sent
            }}
            chain accepts {{
                ip saddr . tcp sport . ip daddr . tcp dport @accepted return
                add @accepted {{ ip saddr . tcp sport . ip daddr . tcp dport }}
                counter name tcp_accepted
            }}
        }}
        """)

    def counts(self):
        """{"tcp_opened", "tcp_accepted" (once for each connection), "udp_sent", "leaked"}: packets from the customer so far"""
        listed = json.loads(self.host.run("nft", "-j", "list", "counters", "table", "inet", "watch").stdout)
        return {c["counter"]["name"]: c["counter"]["packets"] for c in listed["nftables"] if "counter" in c}

    def go_silent(self):
        """The line is dead, as a modem's customer sees it: no carrier."""
        self.host.ip("link set cust down")

    def has(self, address):
        return ipaddress.ip_address(address) in self.network


class Site:
    """A lab with an internet and providers. `lab` and `processes` as the report hook wants them."""

    def __init__(self):
        self.lab = lab.Lab()
        self.internet = self.lab.host("internet")
        self.internet.address("lo", *(f"{a}/32" for a in [*SERVERS, OUTSIDE]))
        self.providers = {}
        self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lab.close()

    def provider(self, name, customer, interface, network, **options):
        self.providers[name] = Provider(self, len(self.providers) + 1, customer, interface, network, **options)
        return self.providers[name]

    def lan(self, router, interface, network, hosts):
        """A LAN: the router has the network's first address on a bridge; hosts from .100 up."""
        network = ipaddress.ip_network(network)
        router.ip(f"link add {interface} type bridge")
        router.address(interface, f"{network[1]}/{network.prefixlen}")
        made = []
        for n in range(hosts):
            host = self.lab.host(f"pc{n + 1}")
            self.lab.wire(host, "eth0", router, f"port{n + 1}")
            router.ip(f"link set port{n + 1} master {interface}")
            host.address("eth0", f"{network[100 + n]}/{network.prefixlen}")
            host.ip(f"route add default via {network[1]}")
            made.append(host)
        return made

    # ---- traffic ----

    def serve(self, *ports):
        """The traffic server on the internet host."""
        self._server = Server(self.internet, *ports)
        return self._server

    def client(self, host, to=None, **options):
        """Traffic from a host, to its end; returns its lab.traffic.Client, for its result and its run."""
        options["timeout"] = options.get("timeout", 5) * PATIENCE
        options.setdefault("parallel", 8)
        run = Client(host, to or SERVERS, **options)
        run.result(60 * PATIENCE)
        return run

    def split(self, *runs):
        """{provider: flows} of these runs, by the address that the servers saw."""
        counts = dict.fromkeys(self.providers, 0)
        report = self._server.report()["runs"]
        for run in runs:
            for address, flows in report.get(str(run.run), {"by_peer": {}})["by_peer"].items():
                name = next((n for n, p in self.providers.items() if p.has(address)), address)
                counts[name] = counts.get(name, 0) + flows
        return counts

    def delta(self, action):
        """Run it; {provider: {counter: increase}} and what it returned."""
        before = {name: provider.counts() for name, provider in self.providers.items()}
        result = action()
        after = {name: provider.counts() for name, provider in self.providers.items()}
        return {name: {key: after[name][key] - value for key, value in counts.items()}
                for name, counts in before.items()}, result

    # ---- the old ways ----

    def as_printed(self, host, script, tables=(), check=False, arguments=()):
        """
        Run a how-to's script in a host, with its own /etc/iproute2 holding these table
        names ((20, "link1"), ...): the machine's files stay as they are. Returns the
        CompletedProcess.
        """
        place = os.path.join(self.lab.directory, f"iproute2-{host.name}")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "rt_tables"), "w", encoding="utf-8") as file:
            file.write("255 local\n254 main\n253 default\n0 unspec\n")
            file.writelines(f"{number} {name}\n" for number, name in tables)
        wrapped = f"mount --bind {place} /etc/iproute2; exec sh -s -- \"$@\""
        return host.run("unshare", "--mount", "sh", "-c", wrapped, "sh", *arguments, stdin=script, check=check)


def example(name):
    """The text of scripts/examples/NAME, as it is: the labs have its interfaces and addresses."""
    with open(os.path.join(EXAMPLES, name), encoding="utf-8") as file:
        return file.read()


def well(run, flows):
    """All flows of a run were opened, answered, and stayed where they were."""
    result = run.result()
    assert result["failures"] == {}
    assert result["completed"] == result["flows"] == flows
    assert result["moved"] == 0


def decided_all(balancer, flows=None):
    """The fallback took nothing; the daemon decided this many flows. Pure iptables has no counters for that."""
    with open(os.path.join(balancer.run_directory, "rules.state"), encoding="utf-8") as file:
        if "backend iptables-" in file.read():
            return
    assert balancer.fallback() == 0
    assert flows is None or balancer.decided() == flows
