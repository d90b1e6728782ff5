/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/decode.c - bytes of an IP packet -> flow
 *
 * Every byte is reached through packet_at(); nothing else does arithmetic on
 * the buffer. A packet has two ends: that of the bytes at hand (the queue copies
 * a prefix only) and that of its own length field (behind it a capture may
 * hold padding). Running over the first is "truncated", over the second "header".
 */
#include "policy/decode.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#define IPV4_HEADER 20 /* without options */
#define IPV6_HEADER 40
#define MAX_HEADERS 8 /* between IP and transport */

/* Not in every libc's netinet/in.h */
#define PROTO_DCCP 33
#define PROTO_SCTP 132
#define PROTO_UDPLITE 136

struct packet {
	const uint8_t *bytes;
	size_t len; /* bytes at hand */
	size_t size; /* bytes of the packet by its own length field; SIZE_MAX: not stated (BIG TCP, jumbogram) */
	size_t next; /* offset of the header to be read */
	enum decode_result error; /* why packet_at() said NULL */
};

/* `n` bytes at offset `off` of the header to be read, or NULL with packet->error set */
static const uint8_t *packet_at(struct packet *packet, size_t off, size_t n)
{
	const size_t end = packet->next + off + n; /* all three stay far below SIZE_MAX */

	if (end > packet->size)
		packet->error = DECODE_HEADER;
	else if (end > packet->len)
		packet->error = DECODE_TRUNCATED;
	else
		return packet->bytes + packet->next + off;
	return NULL;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static enum decode_result read_ports(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, 4);

	if (!p)
		return packet->error;
	out->sport = get16(p);
	out->dport = get16(p + 2);
	out->ports = true;
	return DECODE_OK;
}

/* Echo, timestamp, information, address mask: requests and replies (RFC 792, 950) */
static bool is_query4(uint8_t type)
{
	return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

/* Echo, node information (RFC 4443, 4620) */
static bool is_query6(uint8_t type)
{
	return type == 128 || type == 129 || type == 139 || type == 140;
}

/* The identifier of a query tells two pings of one host apart, as conntrack does */
static enum decode_result read_icmp(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, 1);

	if (!p)
		return packet->error;
	if (!(out->family == 4 ? is_query4(*p) : is_query6(*p)))
		return DECODE_OK;
	p = packet_at(packet, 4, 2);
	if (!p)
		return packet->error;
	out->sport = get16(p);
	return DECODE_OK;
}

static enum decode_result read_transport(struct packet *packet, struct flow *out)
{
	switch (out->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case PROTO_UDPLITE:
	case PROTO_SCTP:
	case PROTO_DCCP:
		return read_ports(packet, out);
	case IPPROTO_ICMP:
		return out->family == 4 ? read_icmp(packet, out) : DECODE_OK;
	case IPPROTO_ICMPV6:
		return out->family == 6 ? read_icmp(packet, out) : DECODE_OK;
	default:
		return DECODE_OK;
	}
}

/* ---- headers between IP and transport: each sets the protocol and moves on ---- */

/* Hop-by-hop, routing, destination options: length in units of 8 beyond the first 8 */
static enum decode_result skip_options(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, 2);
	size_t size;

	if (!p)
		return packet->error;
	size = 8 * ((size_t)p[1] + 1);
	if (!packet_at(packet, 0, size))
		return packet->error;
	out->protocol = p[0];
	packet->next += size;
	return DECODE_OK;
}

static enum decode_result skip_fragment(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, 8);

	if (!p)
		return packet->error;
	if (get16(p + 2) & 0xfff8)
		return DECODE_FRAGMENT;
	out->protocol = p[0];
	packet->next += 8;
	return DECODE_OK;
}

/* Authentication header: length in units of 4, less 2 */
static enum decode_result skip_ah(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, 2);
	size_t size;

	if (!p)
		return packet->error;
	size = 4 * ((size_t)p[1] + 2);
	if (size < 12)
		return DECODE_HEADER;
	if (!packet_at(packet, 0, size))
		return packet->error;
	out->protocol = p[0];
	packet->next += size;
	return DECODE_OK;
}

/* Skips one header of IPv6 that stands before the transport's; *more says whether there was one.
 * ESP hides what follows it, so it counts as the transport. */
static enum decode_result skip_header(struct packet *packet, struct flow *out, bool *more)
{
	*more = true;
	switch (out->protocol) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return skip_options(packet, out);
	case IPPROTO_FRAGMENT:
		return skip_fragment(packet, out);
	case IPPROTO_AH:
		return skip_ah(packet, out);
	default:
		*more = false;
		return DECODE_OK;
	}
}

static enum decode_result skip_headers(struct packet *packet, struct flow *out)
{
	for (unsigned i = 0; i <= MAX_HEADERS; i++) {
		bool more;
		const enum decode_result result = skip_header(packet, out, &more);

		if (result != DECODE_OK || !more)
			return result;
	}
	return DECODE_EXTENSIONS;
}

/* ---- the two IP headers ---- */

static void put_v4(struct flow_addr *addr, const uint8_t *p)
{
	memset(addr->b, 0, 10);
	memset(addr->b + 10, 0xff, 2);
	memcpy(addr->b + 12, p, 4);
}

static enum decode_result read_ipv4(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, IPV4_HEADER);
	size_t header, total;

	if (!p)
		return packet->error;
	header = 4 * (size_t)(p[0] & 0x0f);
	total = get16(p + 2);
	if (header < IPV4_HEADER)
		return DECODE_HEADER;
	if (total)
		packet->size = total;
	out->family = 4;
	out->dscp = p[1] >> 2;
	out->protocol = p[9];
	put_v4(&out->src, p + 12);
	put_v4(&out->dst, p + 16);
	if (!packet_at(packet, 0, header))
		return packet->error;
	packet->next = header;
	return get16(p + 6) & 0x1fff ? DECODE_FRAGMENT : DECODE_OK;
}

static enum decode_result read_ipv6(struct packet *packet, struct flow *out)
{
	const uint8_t *p = packet_at(packet, 0, IPV6_HEADER);
	size_t payload;

	if (!p)
		return packet->error;
	payload = get16(p + 4);
	if (payload)
		packet->size = IPV6_HEADER + payload;
	out->family = 6;
	out->dscp = (uint8_t)((p[0] & 0x0f) << 2 | p[1] >> 6);
	out->protocol = p[6];
	memcpy(out->src.b, p + 8, sizeof(out->src.b));
	memcpy(out->dst.b, p + 24, sizeof(out->dst.b));
	packet->next = IPV6_HEADER;
	return DECODE_OK;
}

enum decode_result decode_packet_transport(const uint8_t *bytes, size_t len, struct flow *out, size_t *transport)
{
	struct packet packet = { .bytes = bytes, .len = len, .size = SIZE_MAX };
	enum decode_result result = DECODE_VERSION;

	memset(out, 0, sizeof(*out));
	if (!len)
		return DECODE_EMPTY;
	if (bytes[0] >> 4 == 4)
		result = read_ipv4(&packet, out);
	else if (bytes[0] >> 4 == 6)
		result = read_ipv6(&packet, out);
	/* in IPv4 AH is a protocol as any other, to the kernel's conntrack and to rules */
	if (result == DECODE_OK && out->family == 6)
		result = skip_headers(&packet, out);
	if (result == DECODE_OK)
		result = read_transport(&packet, out);
	*transport = packet.next;
	return result;
}

enum decode_result decode_packet(const uint8_t *bytes, size_t len, struct flow *out)
{
	size_t transport;

	return decode_packet_transport(bytes, len, out, &transport);
}

const char *decode_result_name(enum decode_result result)
{
	static const char *const names[] = {
		[DECODE_OK] = "ok",
		[DECODE_EMPTY] = "empty",
		[DECODE_VERSION] = "not IP",
		[DECODE_TRUNCATED] = "truncated",
		[DECODE_HEADER] = "bad header",
		[DECODE_FRAGMENT] = "fragment",
		[DECODE_EXTENSIONS] = "extension headers",
	};

	static_assert(sizeof(names) / sizeof(*names) == DECODE_RESULTS, "every result has a name");
	return names[result];
}
