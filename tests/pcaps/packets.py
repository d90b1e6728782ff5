# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes of packets, frames and capture files, for tests/pcaps/generate.py.

Standard library only, nothing random, no clock: the same calls give the same
bytes on every machine. Checksums are right where a header has one, so that the
captures can be read with any other tool without complaints.
"""

import ipaddress
import struct

TCP, UDP, ICMP, ICMPV6, SCTP, DCCP, UDPLITE, GRE, ESP, AH = 6, 17, 1, 58, 132, 33, 136, 47, 50, 51
SYN, ACK, FIN, RST = 0x02, 0x10, 0x01, 0x04


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(src, dst, protocol, length):
    a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if a.version == 4:
        return a.packed + b.packed + struct.pack("!BBH", 0, protocol, length)
    return a.packed + b.packed + struct.pack("!II", length, protocol)


# ---- transport: each returns (protocol, bytes) for ip() ----

def tcp(src, sport, dst, dport, flags=SYN, payload=b"", seq=1000):
    def build(check):
        return struct.pack("!HHIIBBHHH", sport, dport, seq, 0 if flags == SYN else 1, 5 << 4, flags, 64240, check, 0) \
            + payload
    return TCP, build(checksum(pseudo_header(src, dst, TCP, 20 + len(payload)) + build(0)))


def udp(src, sport, dst, dport, payload=b"x" * 12):
    def build(check):
        return struct.pack("!HHHH", sport, dport, 8 + len(payload), check) + payload
    return UDP, build(checksum(pseudo_header(src, dst, UDP, 8 + len(payload)) + build(0)) or 0xFFFF)


def ports(protocol, sport, dport):
    """SCTP, DCCP, UDP-Lite: the ports and enough bytes behind them."""
    return protocol, struct.pack("!HH", sport, dport) + bytes(12)


def icmp(kind, code=0, identifier=0, payload=b"ping"):
    def build(check):
        return struct.pack("!BBHHH", kind, code, check, identifier, 1) + payload
    return ICMP, build(checksum(build(0)))


def icmpv6(src, dst, kind, code=0, identifier=0, payload=b"ping"):
    def build(check):
        return struct.pack("!BBHHH", kind, code, check, identifier, 1) + payload
    return ICMPV6, build(checksum(pseudo_header(src, dst, ICMPV6, 8 + len(payload)) + build(0)))


# ---- IP ----

def ip4(src, dst, transport, tos=0, fragment=0, more=False, identification=1, options=b""):
    protocol, payload = transport

    def build(check):
        return struct.pack("!BBHHHBBH", 0x45 + len(options) // 4, tos, 20 + len(options) + len(payload), identification,
                           (0x2000 if more else 0) | fragment // 8, 64, protocol, check) \
            + ipaddress.IPv4Address(src).packed + ipaddress.IPv4Address(dst).packed + options
    return build(checksum(build(0))) + payload


def ip6(src, dst, transport, traffic_class=0, extensions=()):
    """`extensions`: pairs (protocol number of the header, its bytes with the next header left 0)."""
    protocol, payload = transport
    for number, header in reversed(extensions):
        payload = bytes([protocol]) + header[1:] + payload
        protocol = number
    return struct.pack("!IHBB", 6 << 28 | traffic_class << 20, len(payload), protocol, 64) \
        + ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed + payload


def ip(src, dst, transport, tos=0):
    return (ip6 if ":" in src else ip4)(src, dst, transport, tos)


HOP_BY_HOP = (0, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
DESTINATION = (60, bytes([0, 1, 1, 12]) + bytes(12))
ROUTING = (43, bytes([0, 0, 253, 0, 0, 0, 0, 0]))
AUTHENTICATION = (AH, bytes([0, 4, 0, 0]) + struct.pack("!II", 256, 1) + bytes(12))


def fragment6(offset, more, identification=7):
    return 44, struct.pack("!BBHI", 0, 0, offset | more, identification)


# ---- link layers: IP bytes -> frame ----

MACS = bytes.fromhex("020000000001020000000002")


def ethertype(packet):
    return struct.pack("!H", 0x86DD if packet[0] >> 4 == 6 else 0x0800)


def ethernet(packet, tags=()):
    """`tags`: (TPID, VLAN id) from the outside in."""
    return MACS + b"".join(struct.pack("!HH", tpid, vid) for tpid, vid in tags) + ethertype(packet) + packet


def ppp_protocol(packet):
    return b"\x00\x57" if packet[0] >> 4 == 6 else b"\x00\x21"


def ppp(packet):
    return b"\xff\x03" + ppp_protocol(packet) + packet


def ppp_compressed(packet):
    return ppp_protocol(packet)[1:] + packet


def pppoe(packet, tags=()):
    tagged = b"".join(struct.pack("!HH", tpid, vid) for tpid, vid in tags)
    return MACS + tagged + b"\x88\x64" + struct.pack("!BBHH", 0x11, 0, 7, len(packet) + 2) + ppp_protocol(packet) + packet


def snap(packet):
    return b"\xaa\xaa\x03\0\0\0" + ethertype(packet) + packet


def ethernet_snap(packet):
    return MACS + struct.pack("!H", len(packet) + 8) + snap(packet)


def labels(*values):
    return b"".join(struct.pack("!I", value << 12 | (i == len(values) - 1) << 8 | 64) for i, value in enumerate(values))


def mpls(packet):
    return labels(18, 19) + packet


def ethernet_mpls(packet):
    return MACS + b"\x88\x47" + mpls(packet)


def ethernet_pseudowire(packet):
    return MACS + b"\x88\x47" + labels(20) + bytes(4) + ethernet(packet)


def hdlc(packet):
    return b"\x0f\x00" + ethertype(packet) + packet


def sll(packet):
    return struct.pack("!HHH", 4, 1, 6) + MACS[:6] + bytes(2) + ethertype(packet) + packet


def sll2(packet):
    return ethertype(packet) + struct.pack("!HIHBB", 0, 2, 1, 4, 6) + MACS[:6] + bytes(2) + packet


def null_le(packet):
    return struct.pack("<I", 30 if packet[0] >> 4 == 6 else 2) + packet


def null_be(packet):
    return struct.pack(">I", 28 if packet[0] >> 4 == 6 else 2) + packet


def loop(packet):
    return struct.pack("!I", 24 if packet[0] >> 4 == 6 else 2) + packet


def raw(packet):
    return packet


def nflog(packet):
    def attribute(kind, data):
        return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
    return struct.pack("!BBH", 10 if packet[0] >> 4 == 6 else 2, 0, 5) \
        + attribute(1, b"\x08\x00\x03\x00") + attribute(10, b"lan\0") + attribute(9, packet)


def wifi(packet):
    return b"\x08\x01\0\0" + MACS + b"\x02\0\0\0\0\x03" + bytes(2) + snap(packet)


def wifi_qos(packet):
    """Four addresses, QoS control, HT control: the longest header there is."""
    return b"\x88\x83\0\0" + MACS + b"\x02\0\0\0\0\x03" + bytes(2) + b"\x02\0\0\0\0\x04" + bytes(2) + bytes(4) + snap(packet)


def radiotap(packet):
    """TSFT and flags; the flags say that the 802.11 header is padded to four bytes."""
    frame = b"\x88\x01\0\0" + MACS + b"\x02\0\0\0\0\x03" + bytes(2) + bytes(2) + bytes(2) + snap(packet)
    return struct.pack("<BBHI", 0, 0, 17, 3) + bytes(8) + b"\x20" + frame


# ---- files: `packets` are (time in nanoseconds, frame, or (frame, bytes kept)) ----

def kept(frame):
    return frame if isinstance(frame, tuple) else (frame, len(frame))


def pcap(packets, linktype=1, order="<", nanoseconds=False):
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, 262144, linktype)
    for time, frame in packets:
        data, n = kept(frame)
        part = time % 10**9 if nanoseconds else time % 10**9 // 1000
        out += struct.pack(order + "IIII", time // 10**9, part, n, len(data)) + data[:n]
    return out


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def pcapng(packets, linktype=1, order="<", nanoseconds=False):
    out = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = struct.pack(order + "HHBxxxHH", 9, 1, 9, 0, 0) if nanoseconds else b""
    out += block(order, 1, struct.pack(order + "HHI", linktype, 0, 262144) + options)
    out += block(order, 0x0BAD, b"a block that no reader knows")
    for time, frame in packets:
        data, n = kept(frame)
        stamp = time if nanoseconds else time // 1000
        out += block(order, 6, struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, n, len(data)) + data[:n])
    return out
