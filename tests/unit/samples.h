/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/samples.h - packets of every protocol and header chain, built by hand
 *
 * Used by the decoder's tests; each sample says what must come out of it.
 */
#ifndef TESTS_UNIT_SAMPLES_H
#define TESTS_UNIT_SAMPLES_H

#include "policy/decode.h"

struct sample {
	const char *name;
	uint8_t bytes[160];
	size_t len;
	size_t needed; /* shorter than this is truncated */
	enum decode_result result;
	uint8_t family, protocol, dscp;
	uint16_t sport, dport;
	bool ports;
};

/* by hand: header by header, a packet per line */
/* clang-format off */
/* IPv4 192.0.2.1 -> 198.51.100.2, 2001:db8::1 -> 2001:db8::2 for IPv6 */
#define V4(words, tos, total, frag, proto)                                                          \
	0x40 | (words), (tos), (total) >> 8, (total) & 0xff, 0, 1, (frag) >> 8, (frag) & 0xff, 64, (proto), 0, 0, 192, \
		0, 2, 1, 198, 51, 100, 2
#define V6(tc, payload, next)                                                                                     \
	0x60 | (tc) >> 4, ((tc) & 0xf) << 4, 0, 0, (payload) >> 8, (payload) & 0xff, (next), 64, 0x20, 1, 0xd, 0xb8, 0, 0, \
		0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2
#define PORTS 0xc3, 0x50, 0x01, 0xbb /* 50000 -> 443 */
#define ECHO(type) (type), 0, 0xab, 0xcd, 0x12, 0x34, 0, 1 /* identifier 0x1234 */
#define REST 0, 0, 0, 0 /* whatever follows the ports */

#define OPTIONS_8(next) (next), 0, 1, 4, 0, 0, 0, 0
#define OPTIONS_16(next) (next), 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define FRAGMENT(next, off_more) (next), 0, (off_more) >> 8, (off_more) & 0xff, 0, 0, 0, 7
#define AH(next) (next), 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0

#define OK4(proto) .result = DECODE_OK, .family = 4, .protocol = (proto)
#define OK6(proto) .result = DECODE_OK, .family = 6, .protocol = (proto)
#define FAILS(why, at_family, at_protocol) .result = (why), .family = (at_family), .protocol = (at_protocol)
#define WITH_PORTS .sport = 50000, .dport = 443, .ports = true

static const struct sample samples[] = {
	{ "tcp", { V4(5, 0, 28, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS },
	{ "udp", { V4(5, 0, 28, 0, 17), PORTS, REST }, 28, 24, OK4(17), WITH_PORTS },
	{ "udplite", { V4(5, 0, 28, 0, 136), PORTS, REST }, 28, 24, OK4(136), WITH_PORTS },
	{ "sctp", { V4(5, 0, 28, 0, 132), PORTS, REST }, 28, 24, OK4(132), WITH_PORTS },
	{ "dccp", { V4(5, 0, 28, 0, 33), PORTS, REST }, 28, 24, OK4(33), WITH_PORTS },
	{ "dscp 8, ecn", { V4(5, 0x22, 28, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS, .dscp = 8 },
	{ "ecn alone", { V4(5, 0x03, 28, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS },
	{ "options", { V4(7, 0xfc, 36, 0, 17), 1, 1, 1, 1, 1, 1, 1, 0, PORTS, REST }, 36, 32, OK4(17), WITH_PORTS,
	  .dscp = 63 },
	{ "ping", { V4(5, 0, 28, 0, 1), ECHO(8) }, 28, 26, OK4(1), .sport = 0x1234 },
	{ "ping reply", { V4(5, 0, 28, 0, 1), ECHO(0) }, 28, 26, OK4(1), .sport = 0x1234 },
	{ "timestamp", { V4(5, 0, 28, 0, 1), ECHO(13) }, 28, 26, OK4(1), .sport = 0x1234 },
	{ "address mask reply", { V4(5, 0, 28, 0, 1), ECHO(18) }, 28, 26, OK4(1), .sport = 0x1234 },
	{ "time exceeded", { V4(5, 0, 28, 0, 1), ECHO(11) }, 28, 21, OK4(1) },
	{ "unreachable", { V4(5, 0, 28, 0, 1), ECHO(3) }, 28, 21, OK4(1) },
	{ "icmpv6 in ipv4", { V4(5, 0, 28, 0, 58), ECHO(128) }, 28, 20, OK4(58) },
	{ "esp", { V4(5, 0, 28, 0, 50), REST, REST }, 28, 20, OK4(50) },
	{ "gre", { V4(5, 0, 28, 0, 47), REST, REST }, 28, 20, OK4(47) },
	{ "no payload", { V4(5, 0, 20, 0, 255) }, 20, 20, OK4(255) },
	{ "ah", { V4(5, 0, 44, 0, 51), AH(6), PORTS, REST }, 44, 20, OK4(51) },
	{ "hop-by-hop is no header of ipv4", { V4(5, 0, 28, 0, 0), OPTIONS_8(6) }, 28, 20, OK4(0) },
	{ "first fragment", { V4(5, 0, 28, 0x2000, 17), PORTS, REST }, 28, 24, OK4(17), WITH_PORTS },
	{ "don't fragment", { V4(5, 0, 28, 0x4000, 17), PORTS, REST }, 28, 24, OK4(17), WITH_PORTS },
	{ "later fragment", { V4(5, 0, 28, 0x2001, 17), PORTS, REST }, 28, 20, FAILS(DECODE_FRAGMENT, 4, 17) },
	{ "last fragment", { V4(5, 0, 28, 0x1fff, 6), PORTS, REST }, 28, 20, FAILS(DECODE_FRAGMENT, 4, 6) },
	{ "cut copy of 60000 bytes", { V4(5, 0, 60000, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS },
	{ "big tcp, length 0", { V4(5, 0, 0, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS },
	{ "padding", { V4(5, 0, 24, 0, 6), PORTS, REST }, 28, 24, OK4(6), WITH_PORTS },
	{ "ports in the padding", { V4(5, 0, 23, 0, 6), PORTS, REST }, 28, 20, FAILS(DECODE_HEADER, 4, 6) },
	{ "total shorter than header", { V4(5, 0, 19, 0, 6), PORTS, REST }, 28, 20, FAILS(DECODE_HEADER, 4, 6) },
	{ "header of 16", { V4(4, 0, 28, 0, 6), PORTS, REST }, 28, 20, FAILS(DECODE_HEADER, 0, 0) },
	{ "options longer than the packet", { V4(15, 0, 28, 0, 6), PORTS, REST }, 28, 20, FAILS(DECODE_HEADER, 4, 6) },
	{ "version 5", { 0x55, 0, 0, 20 }, 4, 1, FAILS(DECODE_VERSION, 0, 0) },
	{ "version 0", { 0x05, 0, 0, 20 }, 4, 1, FAILS(DECODE_VERSION, 0, 0) },

	{ "tcp6", { V6(0, 8, 6), PORTS, REST }, 48, 44, OK6(6), WITH_PORTS },
	{ "udp6, dscp 46", { V6(0xb8, 8, 17), PORTS, REST }, 48, 44, OK6(17), WITH_PORTS, .dscp = 46 },
	{ "ecn6", { V6(0x03, 8, 17), PORTS, REST }, 48, 44, OK6(17), WITH_PORTS },
	{ "ping6", { V6(0, 8, 58), ECHO(128) }, 48, 46, OK6(58), .sport = 0x1234 },
	{ "ping6 reply", { V6(0, 8, 58), ECHO(129) }, 48, 46, OK6(58), .sport = 0x1234 },
	{ "node information", { V6(0, 8, 58), ECHO(139) }, 48, 46, OK6(58), .sport = 0x1234 },
	{ "neighbour solicitation", { V6(0, 8, 58), ECHO(135) }, 48, 41, OK6(58) },
	{ "icmp in ipv6", { V6(0, 8, 1), ECHO(8) }, 48, 40, OK6(1) },
	{ "esp6", { V6(0, 8, 50), REST, REST }, 48, 40, OK6(50) },
	{ "no next header", { V6(0, 8, 59), REST, REST }, 48, 40, OK6(59) },
	{ "hop-by-hop", { V6(0, 16, 0), OPTIONS_8(6), PORTS, REST }, 56, 52, OK6(6), WITH_PORTS },
	{ "routing", { V6(0, 24, 43), OPTIONS_16(17), PORTS, REST }, 64, 60, OK6(17), WITH_PORTS },
	{ "destination options", { V6(0, 16, 60), OPTIONS_8(132), PORTS, REST }, 56, 52, OK6(132), WITH_PORTS },
	{ "ah6 too short", { V6(0, 24, 51), 6, 0, REST, REST }, 64, 42, FAILS(DECODE_HEADER, 6, 51) },
	{ "ah6", { V6(0, 24, 51), AH(17), PORTS, REST }, 64, 60, OK6(17), WITH_PORTS },
	{ "atomic fragment", { V6(0, 16, 44), FRAGMENT(6, 0), PORTS, REST }, 56, 52, OK6(6), WITH_PORTS },
	{ "first fragment6", { V6(0, 16, 44), FRAGMENT(6, 1), PORTS, REST }, 56, 52, OK6(6), WITH_PORTS },
	{ "later fragment6", { V6(0, 16, 44), FRAGMENT(6, 8), PORTS, REST }, 56, 48, FAILS(DECODE_FRAGMENT, 6, 44) },
	{ "chain of all", { V6(0, 64, 0), OPTIONS_8(60), OPTIONS_8(43), OPTIONS_8(44), FRAGMENT(51, 0), AH(60), OPTIONS_8(6), PORTS, REST },
	  104, 100, OK6(6), WITH_PORTS },
	{ "eight headers", { V6(0, 72, 60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(6), PORTS, REST },
	  112, 108, OK6(6), WITH_PORTS },
	{ "nine headers", { V6(0, 80, 60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(60), OPTIONS_8(6), PORTS, REST },
	  120, 112, FAILS(DECODE_EXTENSIONS, 6, 6) },
	{ "jumbogram, length 0", { V6(0, 0, 0), OPTIONS_8(6), PORTS, REST }, 56, 52, OK6(6), WITH_PORTS },
	{ "cut copy6", { V6(0, 60000, 6), PORTS, REST }, 48, 44, OK6(6), WITH_PORTS },
	{ "payload ends before ports", { V6(0, 3, 6), PORTS, REST }, 48, 40, FAILS(DECODE_HEADER, 6, 6) },
	{ "options longer than payload", { V6(0, 16, 0), 6, 200, REST, REST, REST }, 56, 42, FAILS(DECODE_HEADER, 6, 0) },
};
/* clang-format on */

#define SAMPLES (sizeof(samples) / sizeof(*samples))

#endif
