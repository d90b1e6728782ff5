# SPDX-License-Identifier: GPL-2.0-or-later
"""
Labs of network namespaces: real kernels' networking, real packets, nothing simulated.

    from lab import world

    with world(links=3, clients=3) as w:
        w.balancer.configure(w.links)
        w.balancer.start()                       # rules script, then daemon
        traffic = w.traffic(flows=6000, rate=2000)
        print(traffic.result(), w.split(traffic.run))

The parts, each usable alone:

    lab.lab       Lab: hosts, wires between them, and everything's end
    lab.host      Host: commands, addresses, sysctls, background processes
    lab.balancer  Balancer: configuration, rules script, daemon, control socket on a router
    lab.room      room for more connections, on the whole machine
    lab.snapshot  the state of a host's network, to compare before and after
    lab.traffic   the traffic tools: Server, Client, flood()
    lab.topology  the usual topology: LAN clients, router, links, "the Internet"

Needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN), and Python 3.11's standard library.
"""

from lab.balancer import Balancer, config_text
from lab.host import CommandError, Host, Process, wait_until
from lab.lab import Lab, remove_stale, unusable
from lab.snapshot import differences, snapshot
from lab.traffic import Client, Server, flood
from lab.topology import Link, World, world

__all__ = [
    "Balancer", "Client", "CommandError", "Host", "Lab", "Link", "Process", "Server", "World",
    "config_text", "differences", "flood", "remove_stale", "snapshot", "unusable", "wait_until", "world",
]
