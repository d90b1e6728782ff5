#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the captures of tests/pcaps, or check that they are what this file makes.

    generate.py            write all captures beside this file
    generate.py --check    compare; exit 1 and name each that differs

One function per capture, named as the file. A LAN 10.1.0.0/24 and 2001:db8:1::/48
talks to documentation addresses. Times begin at 2023-11-14 22:13:20 UTC.
"""

import pathlib
import sys

import packets as p

HERE = pathlib.Path(__file__).resolve().parent
START = 1_700_000_000 * 10**9
MS = 10**6
SECOND = 10**9

CLIENTS = [f"10.1.0.{n}" for n in (100, 101, 102)]
CLIENT = CLIENTS[0]
CLIENT6 = "2001:db8:1::100"
SERVER = "203.0.113.9"
SERVER6 = "2001:db8:f::9"


class Capture:
    """Packets in order of time; `link` frames each IP packet."""

    def __init__(self, link=p.ethernet):
        self.link = link
        self.time = START
        self.packets = []

    def frame(self, frame, after=MS, keep=None):
        self.time += after
        self.packets.append((self.time, frame if keep is None else (frame, keep)))

    def ip(self, src, dst, transport, after=MS, **more):
        self.frame(self.link((p.ip6 if ":" in src else p.ip4)(src, dst, transport, **more)), after)

    def tcp(self, src, sport, dst, dport, flags=p.SYN, after=MS, payload=b"", **more):
        self.ip(src, dst, p.tcp(src, sport, dst, dport, flags, payload), after, **more)

    def udp(self, src, sport, dst, dport, after=MS, payload=b"x" * 12, **more):
        self.ip(src, dst, p.udp(src, sport, dst, dport, payload), after, **more)

    def connection(self, src, sport, dst, dport, close=True):
        """A short TCP connection: handshake, a word each way, both ends close."""
        there, back = (src, sport, dst, dport), (dst, dport, src, sport)
        self.tcp(*there)
        self.tcp(*back, p.SYN | p.ACK)
        self.tcp(*there, p.ACK, payload=b"hello")
        self.tcp(*back, p.ACK, payload=b"world")
        if close:
            self.tcp(*there, p.FIN | p.ACK)
            self.tcp(*back, p.FIN | p.ACK)
            self.tcp(*there, p.ACK)


def web():
    """Sixty connections of three clients to twenty servers: what a split is seen on."""
    c = Capture()
    for i in range(60):
        c.connection(CLIENTS[i % 3], 50000 + i, f"203.0.113.{10 + i // 3}", 443 if i % 2 else 80)
    return p.pcap(c.packets)


def persistent():
    """One client and one server over TCP, UDP, ICMP and SCTP, other pairs between, then a long silence."""
    c = Capture()
    for turn in range(2):
        sport = 40000 + 100 * turn
        c.connection(CLIENT, sport, SERVER, 443)
        c.udp(CLIENTS[1], sport, "203.0.113.20", 53)
        c.udp(CLIENT, sport + 1, SERVER, 443)
        c.udp(CLIENTS[2], sport, "203.0.113.30", 123)
        c.ip(CLIENT, SERVER, p.icmp(8, identifier=sport))
        c.udp(CLIENT, sport + 2, "203.0.113.40", 53)
        c.ip(CLIENT, SERVER, p.ports(p.SCTP, sport, 5060))
        c.connection(CLIENT, sport + 3, SERVER, 80)
        c.tcp(CLIENT6, sport, SERVER6, 443)
        c.udp(CLIENT6, sport, SERVER6, 443)
        c.time += 700 * SECOND
    # refreshed every five minutes: never forgotten
    for i in range(4):
        c.tcp(CLIENTS[1], 42000 + i, SERVER, 443, after=300 * SECOND)
    return p.pcap(c.packets)


def ports():
    """Both sides of every edge of the rules on ports; the same numbers over other protocols."""
    c = Capture()
    for i, dport in enumerate((24, 25, 26, 109, 110, 143, 587, 993, 995, 7999, 8000, 8005, 8010, 8011, 65535)):
        c.tcp(CLIENT, 41000 + i, SERVER, dport)
    for i, dport in enumerate((25, 53, 8005)):
        c.udp(CLIENT, 41100 + i, SERVER, dport)
    for sport in (1023, 1024, 2047, 2048):
        c.udp(CLIENT, sport, SERVER, 9)
    c.ip(CLIENT, SERVER, p.ports(p.SCTP, 41200, 25))
    c.ip(CLIENT, SERVER, p.icmp(8, identifier=25))
    return p.pcap(c.packets)


def dscp():
    """DSCP of both families; ECN bits are no part of it. The proxy is the router itself."""
    c = Capture()
    for i, tos in enumerate((0x00, 0x20, 0x21, 0x22, 0x23, 0x01, 0x02, 0x1C, 0x24, 0xB8)):
        c.tcp("10.1.0.1", 42000 + i, SERVER, 80, tos=tos)
        c.tcp(CLIENT, 42000 + i, SERVER, 80, tos=tos)
    for i, traffic_class in enumerate((0x00, 0x20, 0x23, 0xB8)):
        c.tcp(CLIENT6, 42100 + i, SERVER6, 80, traffic_class=traffic_class)
    return p.pcap(c.packets)


def ipv6_extensions():
    """Everything that may stand between IPv6 and the ports, and what may not."""
    c = Capture()
    chains = [
        (),
        (p.HOP_BY_HOP,),
        (p.DESTINATION,),
        (p.HOP_BY_HOP, p.DESTINATION, p.ROUTING, p.DESTINATION),
        (p.AUTHENTICATION,),
        (p.HOP_BY_HOP, p.fragment6(0, 1)),
        (p.fragment6(0, 0),),
        (p.fragment6(1480, 0),),
        (p.DESTINATION,) * 20,
    ]
    for i, chain in enumerate(chains):
        c.tcp(CLIENT6, 43000 + i, SERVER6, 443, extensions=chain)
    c.ip(CLIENT6, SERVER6, p.icmpv6(CLIENT6, SERVER6, 128, identifier=77), extensions=(p.HOP_BY_HOP,))
    c.ip("2001:db8:2::100", SERVER6, p.tcp("2001:db8:2::100", 43100, SERVER6, 443))
    c.ip("2001:db8:3::100", SERVER6, p.tcp("2001:db8:3::100", 43100, SERVER6, 443))
    return p.pcap(c.packets)


def fragments():
    """A first fragment has ports, a later one has none; options move the ports."""
    c = Capture()
    data = p.udp(CLIENT, 44000, SERVER, 2049, b"d" * 2000)[1]
    c.ip(CLIENT, SERVER, (p.UDP, data[:1480]), more=True)
    c.ip(CLIENT, SERVER, (p.UDP, data[1480:]), fragment=1480)
    c.ip(CLIENT, SERVER, (p.TCP, b"late" * 10), fragment=800, more=True, identification=2)
    c.tcp(CLIENT, 44001, SERVER, 80, options=b"\x94\x04\0\0" + b"\x01" * 4)
    return p.pcap(c.packets)


def ethernet():
    """What Ethernet can carry IP in, and frames that hold none."""
    c = Capture()
    framings = [
        p.ethernet,
        lambda b: p.ethernet(b, ((0x8100, 10),)),
        lambda b: p.ethernet(b, ((0x88A8, 100), (0x8100, 10))),
        lambda b: p.ethernet(b, ((0x9100, 100), (0x8100, 10))),
        lambda b: p.ethernet(b, ((0x88A8, 1), (0x88A8, 2), (0x8100, 3))),
        p.pppoe,
        lambda b: p.pppoe(b, ((0x8100, 7),)),
        p.ethernet_snap,
        p.ethernet_mpls,
        p.ethernet_pseudowire,
    ]
    for i, c.link in enumerate(framings):
        c.tcp(CLIENT, 45000 + i, SERVER, 80)
        c.udp(CLIENT6, 45000 + i, SERVER6, 53)
    arp = bytes.fromhex("0001080006040001") + p.MACS[6:] + bytes([10, 1, 0, 100]) + bytes(6) + bytes([10, 1, 0, 1])
    c.frame(p.MACS + b"\x08\x06" + arp)
    c.frame(p.MACS + b"\x88\x63" + bytes.fromhex("110900000004") + bytes.fromhex("01010000"))
    c.frame(p.MACS + b"\x00\x26\x42\x42\x03" + bytes(35))
    c.frame(p.MACS + b"\x81\x00\x00" * 40)
    c.frame(p.MACS + b"\x81\x00\x00\x01" * 40)
    c.frame(p.MACS[:8])
    return p.pcap(c.packets)


def icmp():
    """Requests begin flows, answers and errors do not."""
    c = Capture()
    for identifier in (1, 2, 1):
        c.ip(CLIENT, SERVER, p.icmp(8, identifier=identifier))
        c.ip(SERVER, CLIENT, p.icmp(0, identifier=identifier))
    c.udp(CLIENT, 46000, SERVER, 33434)
    error = p.ip4(CLIENT, SERVER, p.udp(CLIENT, 46000, SERVER, 33434))
    c.ip("198.51.100.1", CLIENT, p.icmp(11, payload=error[:28]))
    c.ip("198.51.100.1", CLIENT, p.icmp(3, 3, payload=error[:28]))
    c.ip(CLIENTS[1], SERVER, p.icmp(13, identifier=5, payload=bytes(12)))
    c.ip(CLIENT6, SERVER6, p.icmpv6(CLIENT6, SERVER6, 128, identifier=9))
    c.ip(SERVER6, CLIENT6, p.icmpv6(SERVER6, CLIENT6, 129, identifier=9))
    c.ip(SERVER6, CLIENT6, p.icmpv6(SERVER6, CLIENT6, 1, 4))
    c.ip("fe80::1", "ff02::1", p.icmpv6("fe80::1", "ff02::1", 134))
    return p.pcap(c.packets)


def protocols():
    """SCTP, DCCP and UDP-Lite have ports; GRE, ESP and AH are one flow for each pair of hosts."""
    c = Capture()
    for protocol in (p.SCTP, p.DCCP, p.UDPLITE):
        c.ip(CLIENT, SERVER, p.ports(protocol, 47000, 5060))
        c.ip(SERVER, CLIENT, p.ports(protocol, 5060, 47000))
        c.ip(CLIENT, SERVER, p.ports(protocol, 47001, 5060))
    for protocol in (p.GRE, p.ESP, 41, 253):
        for client in CLIENTS[:2]:
            c.ip(client, SERVER, (protocol, bytes(16)))
            c.ip(SERVER, client, (protocol, bytes(16)))
    return p.pcap(c.packets)


def retransmit():
    """One flow, several first packets; a tuple that ends and is used again."""
    c = Capture()
    for after in (1, 1, 2, 1000, 2000):
        c.tcp(CLIENT, 48000, SERVER, 80, after=after * MS)
    c.udp(CLIENT, 48001, SERVER, 53, after=0, payload=b"A")
    c.udp(CLIENT, 48001, SERVER, 53, after=0, payload=b"AAAA")
    c.udp(SERVER, 53, CLIENT, 48001)
    c.connection(CLIENT, 48002, SERVER, 80)
    c.tcp(CLIENT, 48002, SERVER, 80, after=SECOND)
    c.connection(CLIENT, 48003, SERVER, 80, close=False)
    c.tcp(SERVER, 80, CLIENT, 48003, p.RST)
    c.tcp(CLIENT, 48003, SERVER, 80, after=SECOND)
    c.udp(CLIENT, 48004, SERVER, 123)
    c.udp(CLIENT, 48004, SERVER, 123, after=29 * SECOND)
    c.udp(CLIENT, 48004, SERVER, 123, after=31 * SECOND)
    c.udp(SERVER, 123, CLIENT, 48004)
    c.udp(CLIENT, 48004, SERVER, 123, after=119 * SECOND)
    # a clock that was set back does not make anything old
    c.time -= 500 * SECOND
    c.udp(CLIENT, 48004, SERVER, 123)
    return p.pcap(c.packets)


def directions():
    """From the LAN, into the LAN, inside the LAN, from the router; and what no router forwards."""
    c = Capture()
    c.tcp(CLIENT, 49000, SERVER, 80)
    c.tcp("198.51.100.77", 3000, CLIENT, 22)
    c.tcp(CLIENT, 22, "198.51.100.77", 3000, p.SYN | p.ACK)
    c.tcp(SERVER, 443, CLIENTS[1], 49001, p.ACK)
    c.tcp(CLIENT, 49002, CLIENTS[1], 22)
    c.udp("198.51.100.2", 49003, SERVER, 123)
    c.udp("0.0.0.0", 68, "255.255.255.255", 67)
    c.udp(CLIENT, 5353, "224.0.0.251", 5353)
    c.udp("169.254.1.1", 5353, SERVER, 5353)
    c.udp("127.0.0.1", 5353, "127.0.0.1", 53)
    c.udp("fe80::1", 546, "ff02::1:2", 547)
    c.udp("::1", 5353, "::1", 53)
    return p.pcap(c.packets)


def cut():
    """A file that ends in the middle of its fifth packet."""
    c = Capture()
    for i in range(5):
        c.tcp(CLIENT, 51000 + i, SERVER, 80)
    return p.pcap(c.packets)[:-20]


def snapped():
    """Frames of which a snap length kept all, just enough, or too little."""
    c = Capture()
    for i, keep in enumerate((54, 38, 37, 34, 33, 14, 13, 1, 0)):
        c.frame(p.ethernet(p.ip4(CLIENT, SERVER, p.tcp(CLIENT, 52000 + i, SERVER, 80))), keep=keep)
    return p.pcap(c.packets)


def malformed():
    """Headers that contradict themselves."""
    c = Capture()
    good = p.ip4(CLIENT, SERVER, p.tcp(CLIENT, 53000, SERVER, 80))
    good6 = p.ip6(CLIENT6, SERVER6, p.tcp(CLIENT6, 53000, SERVER6, 80))
    for packet in (
            b"\x44" + good[1:],  # header length below 20
            b"\x4f" + good[1:],  # options beyond the packet
            b"\x55" + good[1:],  # version 5
            good[:2] + b"\x00\x15" + good[4:],  # total length ends before the ports
            good[:2] + b"\x00\x00" + good[4:],  # total length 0: the sender's offload had not filled it in
            good6[:4] + b"\x00\x02" + good6[6:],  # payload length ends before the ports
            good6[:6] + b"\x00" + good6[7:40] + b"\x06\xff" + good6[40:],  # extension beyond the packet
            good):
        c.frame(p.MACS + p.ethertype(packet) + packet)
    return p.pcap(c.packets)


def same_three_flows(link, linktype, write=p.pcap, **options):
    """The same flows through every link layer: one expected output for all of them."""
    c = Capture(link)
    c.connection(CLIENT, 54000, SERVER, 80)
    c.udp(CLIENTS[1], 54001, SERVER, 53)
    c.tcp(CLIENT6, 54002, SERVER6, 443)
    return write(c.packets, linktype, **options)


LINKS = {
    "ethernet": (p.ethernet, 1),
    "null-le": (p.null_le, 0),
    "null-be": (p.null_be, 0),
    "ppp": (p.ppp, 9),
    "ppp-compressed": (p.ppp_compressed, 9),
    "ppp-serial": (p.ppp, 50),
    "pppoe": (lambda b: p.pppoe(b)[14:], 51),
    "raw": (p.raw, 101),
    "hdlc": (p.hdlc, 104),
    "wifi": (p.wifi, 105),
    "wifi-qos": (p.wifi_qos, 105),
    "loop": (p.loop, 108),
    "sll": (p.sll, 113),
    "radiotap": (p.radiotap, 127),
    "mpls": (p.mpls, 219),
    "nflog": (p.nflog, 239),
    "sll2": (p.sll2, 276),
}

CAPTURES = {f"{make.__name__.replace('_', '-')}.pcap": make for make in (
    web, persistent, ports, dscp, ipv6_extensions, fragments, ethernet, icmp, protocols, retransmit, directions, cut,
    snapped, malformed)}
for name, arguments in LINKS.items():
    CAPTURES[f"link-{name}.pcap"] = lambda arguments=arguments: same_three_flows(*arguments)
for name, options in {
        "file-big-endian.pcap": {"order": ">"},
        "file-nanoseconds.pcap": {"nanoseconds": True},
        "file-plain.pcapng": {"write": p.pcapng},
        "file-big-endian-nanoseconds.pcapng": {"write": p.pcapng, "order": ">", "nanoseconds": True}}.items():
    CAPTURES[name] = lambda options=options: same_three_flows(p.ethernet, 1, **options)
# a link type that nobody can route: DLT_USB_LINUX
CAPTURES["link-unsupported.pcap"] = lambda: same_three_flows(p.raw, 189)


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    wrong = [f"{path.name}: not made by generate.py" for path in sorted(HERE.glob("*.pcap*"))
             if path.name not in CAPTURES]
    for name, make in CAPTURES.items():
        path, data = HERE / name, make()
        if not arguments:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            wrong.append(f"{name}: {'differs' if path.is_file() else 'is missing'}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
