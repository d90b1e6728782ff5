# SPDX-License-Identifier: GPL-2.0-or-later
"""A WireGuard tunnel, through one of the links, as a link of its own."""

import re

from lab.topology import Link
from steering import all_well, from_all_clients, shares, steer

PORT = 51820


def key(host):
    private = host.sh("wg genkey").strip()
    return private, host.run("wg", "pubkey", stdin=private).stdout.strip()


def tunnel(world, link):
    """WireGuard between router and far side, named as the lab names links' interfaces."""
    ends = {host: key(host) for host in (world.router, world.internet)}
    for host, other, endpoint in ((world.router, world.internet, [f"{world.servers[0]}:{PORT}"]),
                                  (world.internet, world.router, [])):
        host.ip(f"link add {link.interface} type wireguard")
        host.run("wg", "set", link.interface, "listen-port", PORT, "private-key", "/dev/stdin", "peer", ends[other][1],
                 "allowed-ips", "0.0.0.0/0", *(["endpoint", *endpoint] if endpoint else []), stdin=ends[host][0])
    world.router.address(link.interface, f"{link.address}/28")
    world.internet.address(link.interface, f"{link.gateway}/28")


def test_wireguard_is_a_link(make_world, scale):
    """
    Connections are shared with the tunnel like with any link; what carries it is the
    router's own, follows main's default, and not the marks of what is inside.
    """
    world = make_world(links=2, clients=2)
    world.links.append(Link("link3", 3, 2, keys={"gateway": "none"}))
    tunnel(world, world.links[-1])
    world.internet.run("nft", "-f", "-", stdin="table inet outer {\nchain arrived {\n"
                       "type filter hook prerouting priority -290\n" +
                       "".join(f"iifname {link.interface} udp dport {PORT} counter comment {link.name}\n"
                               for link in world.links) + "}\n}\n")
    steer(world)
    flows = max(scale(200), 8) // 4 * 4
    result, split = from_all_clients(world, 2 * flows, rate=30)
    all_well(result, 2 * flows)
    shares(split, [1, 1, 2])
    udp, split = from_all_clients(world, 2 * flows, rate=30, udp=True, packets=2, spread=0.2)
    all_well(udp, 2 * flows)
    shares(split, [1, 1, 2])
    listed = world.internet.run("nft", "list", "table", "inet", "outer").stdout
    outer = {name: int(packets) for packets, name in re.findall(r'packets (\d+) .*comment "(\S+)"', listed)}
    assert outer["link1"] > 0 and outer["link2"] == outer["link3"] == 0, outer
    assert world.balancer.fallback() == 0
    assert world.leaked() == 0
