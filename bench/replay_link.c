/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_link.c - a captured frame -> the IP packet inside it
 *
 * Theory of operation: a frame is a chain of headers, each of which says what
 * comes next. A step function reads one header through the cursor and returns
 * the kind of the next one; link_strip() runs steps until one answers "IP" or
 * gives up. The cursor's cursor_take() is the only place that touches a pointer.
 *
 * Sources: tcpdump.org/linktypes.html; IEEE 802.1Q, 802.2, 802.11; RFC 1042
 * (SNAP), 1661 and 1662 (PPP), 2516 (PPPoE), 3032 (MPLS), 4385 (control word);
 * radiotap.org.
 */
#include "bench/replay_link.h"

#include <assert.h>
#include <pcap/dlt.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_STEPS 32 /* headers before IP; a label stack counts as one */
#define MAX_LABELS 64

enum step {
	STEP_ETHERNET,
	STEP_ETHERTYPE, /* the next two bytes are an ethertype, its payload follows */
	STEP_VLAN,
	STEP_LLC,
	STEP_PPPOE,
	STEP_PPP,
	STEP_PPP_PROTOCOL,
	STEP_HDLC,
	STEP_MPLS,
	STEP_SLL,
	STEP_SLL2,
	STEP_NULL,
	STEP_LOOP,
	STEP_NFLOG,
	STEP_RADIOTAP,
	STEP_WIFI,
	STEP_WIFI_PADDED, /* some drivers align what follows the header to four bytes */
	STEP_IP, /* from here on: how it ended */
	STEP_NOT_IP,
	STEP_TRUNCATED,
};

/* ---- the checked accessor ---- */

struct cursor {
	const uint8_t *bytes;
	size_t len;
	size_t at; /* <= len, always */
};

/* The next n bytes, or NULL when there are fewer; moves on */
static const uint8_t *cursor_take(struct cursor *c, size_t n)
{
	const uint8_t *p;

	if (n > c->len - c->at)
		return NULL;
	p = &c->bytes[c->at];
	c->at += n;
	return p;
}

static bool cursor_skip(struct cursor *c, size_t n)
{
	return cursor_take(c, n) != NULL;
}

static bool cursor_u8(struct cursor *c, uint8_t *out)
{
	const uint8_t *p = cursor_take(c, 1);

	if (!p)
		return false;
	*out = p[0];
	return true;
}

static bool cursor_be16(struct cursor *c, uint16_t *out)
{
	const uint8_t *p = cursor_take(c, 2);

	if (!p)
		return false;
	*out = (uint16_t)(p[0] << 8 | p[1]);
	return true;
}

static bool cursor_le16(struct cursor *c, uint16_t *out)
{
	const uint8_t *p = cursor_take(c, 2);

	if (!p)
		return false;
	*out = (uint16_t)(p[1] << 8 | p[0]);
	return true;
}

static bool cursor_be32(struct cursor *c, uint32_t *out)
{
	const uint8_t *p = cursor_take(c, 4);

	if (!p)
		return false;
	*out = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	return true;
}

static bool cursor_le32(struct cursor *c, uint32_t *out)
{
	const uint8_t *p = cursor_take(c, 4);

	if (!p)
		return false;
	*out = (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
	return true;
}

/* In the byte order of this machine: libpcap has swapped it where the file's was another */
static bool cursor_host16(struct cursor *c, uint16_t *out)
{
	const uint8_t *p = cursor_take(c, 2);

	if (!p)
		return false;
	memcpy(out, p, sizeof(*out));
	return true;
}

/* ---- one function per header ---- */

static enum step step_ethertype(struct cursor *c)
{
	uint16_t type;

	if (!cursor_be16(c, &type))
		return STEP_TRUNCATED;
	switch (type) {
	case 0x0800:
	case 0x86dd:
		return STEP_IP;
	case 0x8100: /* 802.1Q */
	case 0x88a8: /* 802.1ad, the outer tag */
	case 0x9100: /* what QinQ used before the standard */
	case 0x9200:
		return STEP_VLAN;
	case 0x8864:
		return STEP_PPPOE;
	case 0x8847:
	case 0x8848:
		return STEP_MPLS;
	case 0x880b:
		return STEP_PPP;
	default: /* a length up to 1500: IEEE 802.3 */
		return type <= 1500 ? STEP_LLC : STEP_NOT_IP;
	}
}

static enum step step_ethernet(struct cursor *c)
{
	return cursor_skip(c, 12) ? STEP_ETHERTYPE : STEP_TRUNCATED;
}

static enum step step_vlan(struct cursor *c)
{
	return cursor_skip(c, 2) ? STEP_ETHERTYPE : STEP_TRUNCATED;
}

static enum step step_llc(struct cursor *c)
{
	static const uint8_t snap_ethertype[6] = { 0xaa, 0xaa, 0x03, 0, 0, 0 };
	const uint8_t *p = cursor_take(c, 3);
	const uint8_t *oui;

	if (!p)
		return STEP_TRUNCATED;
	if (memcmp(p, snap_ethertype, 3) != 0)
		return p[0] == 0x06 && p[1] == 0x06 && p[2] == 0x03 ? STEP_IP : STEP_NOT_IP;
	oui = cursor_take(c, 3);
	if (!oui)
		return STEP_TRUNCATED;
	return memcmp(oui, &snap_ethertype[3], 3) == 0 ? STEP_ETHERTYPE : STEP_NOT_IP;
}

static enum step step_pppoe(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 6);

	if (!p)
		return STEP_TRUNCATED;
	/* version 1, type 1, code 0: session data */
	return p[0] == 0x11 && p[1] == 0 ? STEP_PPP_PROTOCOL : STEP_NOT_IP;
}

static enum step step_ppp_protocol(struct cursor *c)
{
	uint8_t first, second;
	unsigned protocol;

	if (!cursor_u8(c, &first))
		return STEP_TRUNCATED;
	protocol = first;
	/* an odd first byte is a compressed protocol field */
	if (!(first & 1)) {
		if (!cursor_u8(c, &second))
			return STEP_TRUNCATED;
		protocol = (unsigned)first << 8 | second;
	}
	switch (protocol) {
	case 0x0021:
	case 0x0057:
		return STEP_IP;
	case 0x0281:
	case 0x0283:
		return STEP_MPLS;
	default:
		return STEP_NOT_IP;
	}
}

static enum step step_ppp(struct cursor *c)
{
	struct cursor ahead = *c;
	const uint8_t *p = cursor_take(&ahead, 2);

	/* address and control are there or compressed away */
	if (p && p[0] == 0xff && p[1] == 0x03)
		*c = ahead;
	return STEP_PPP_PROTOCOL;
}

static enum step step_hdlc(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);

	if (!p)
		return STEP_TRUNCATED;
	if (p[0] == 0xff && p[1] == 0x03)
		return STEP_PPP_PROTOCOL;
	return p[0] == 0x0f || p[0] == 0x8f ? STEP_ETHERTYPE : STEP_NOT_IP;
}

/* Nothing names the payload of a label stack: its first nibble tells (RFC 4928) */
static enum step step_mpls_payload(struct cursor *c)
{
	struct cursor ahead = *c;
	uint8_t first;

	if (!cursor_u8(&ahead, &first))
		return STEP_TRUNCATED;
	switch (first >> 4) {
	case 4:
	case 6:
		return STEP_IP;
	case 0: /* control word of an Ethernet pseudowire */
		return cursor_skip(c, 4) ? STEP_ETHERNET : STEP_TRUNCATED;
	default:
		return STEP_NOT_IP;
	}
}

static enum step step_mpls(struct cursor *c)
{
	uint32_t label;

	for (unsigned i = 0; i < MAX_LABELS; i++) {
		if (!cursor_be32(c, &label))
			return STEP_TRUNCATED;
		if (label & 0x100)
			return step_mpls_payload(c);
	}
	return STEP_NOT_IP;
}

static enum step step_sll(struct cursor *c)
{
	return cursor_skip(c, 14) ? STEP_ETHERTYPE : STEP_TRUNCATED;
}

static enum step step_sll2(struct cursor *c)
{
	struct cursor head = *c;

	/* the protocol comes first here, the payload after 20 bytes */
	return cursor_skip(c, 20) ? step_ethertype(&head) : STEP_TRUNCATED;
}

static enum step loop_family(uint32_t family)
{
	switch (family) {
	case 2: /* AF_INET is 2 everywhere */
	case 10: /* AF_INET6: Linux */
	case 24: /* NetBSD, OpenBSD */
	case 28: /* FreeBSD */
	case 30: /* macOS */
		return STEP_IP;
	default:
		return STEP_NOT_IP;
	}
}

/* The family is in the byte order of the machine that captured: a small number either way */
static enum step step_null(struct cursor *c)
{
	struct cursor again = *c;
	uint32_t le, be;

	if (!cursor_le32(c, &le) || !cursor_be32(&again, &be))
		return STEP_TRUNCATED;
	return loop_family(le < be ? le : be);
}

static enum step step_loop(struct cursor *c)
{
	uint32_t family;

	return cursor_be32(c, &family) ? loop_family(family) : STEP_TRUNCATED;
}

/* Attributes until the one that holds the packet */
static enum step step_nflog(struct cursor *c)
{
	const uint8_t *head = cursor_take(c, 4);
	uint16_t len, type;

	if (!head)
		return STEP_TRUNCATED;
	if (head[1] != 0 || (head[0] != AF_INET && head[0] != AF_INET6))
		return STEP_NOT_IP;
	while (cursor_host16(c, &len)) {
		if (!cursor_host16(c, &type) || len < 4)
			return STEP_TRUNCATED;
		if ((type & 0x7fff) == 9) { /* NFULA_PAYLOAD */
			if (len - 4U < c->len - c->at)
				c->len = c->at + len - 4U;
			return STEP_IP;
		}
		if (!cursor_skip(c, ((len + 3U) & ~3U) - 4))
			return STEP_TRUNCATED;
	}
	return c->at == c->len ? STEP_NOT_IP : STEP_TRUNCATED;
}

/* The flags field tells whether the 802.11 header is padded; TSFT alone may stand before it */
static enum step step_radiotap(struct cursor *c)
{
	struct cursor field = *c;
	const uint8_t *head = cursor_take(&field, 2);
	uint16_t len;
	uint32_t first = 0, present = 0;
	uint8_t flags = 0;

	if (!head || !cursor_le16(&field, &len) || !cursor_le32(&field, &first) || !cursor_skip(c, len))
		return STEP_TRUNCATED;
	if (head[0] != 0)
		return STEP_NOT_IP;
	field.len = c->at;
	if (field.at > field.len)
		return STEP_TRUNCATED;
	for (present = first; present & 0x80000000U;) {
		if (!cursor_le32(&field, &present))
			return STEP_TRUNCATED;
	}
	if (first & 1 && (!cursor_skip(&field, -field.at & 7) || !cursor_skip(&field, 8)))
		return STEP_TRUNCATED;
	if (first & 2 && !cursor_u8(&field, &flags))
		return STEP_TRUNCATED;
	return flags & 0x20 ? STEP_WIFI_PADDED : STEP_WIFI;
}

static enum step step_wifi(struct cursor *c, bool padded)
{
	const uint8_t *fc = cursor_take(c, 2);
	const uint8_t *qos = NULL;
	size_t header = 24;

	if (!fc)
		return STEP_TRUNCATED;
	/* data frames only, with data in them, in the clear */
	if ((fc[0] & 0x0c) != 0x08 || fc[0] & 0x40 || fc[1] & 0x40)
		return STEP_NOT_IP;
	if ((fc[1] & 0x03) == 0x03)
		header += 6; /* a fourth address between access points */
	if (!cursor_skip(c, header - 2))
		return STEP_TRUNCATED;
	if (fc[0] & 0x80) {
		qos = cursor_take(c, 2);
		header += 2;
		if (!qos)
			return STEP_TRUNCATED;
		if (qos[0] & 0x80)
			return STEP_NOT_IP; /* several frames in one: which one would speak for it? */
	}
	if (qos && fc[1] & 0x80) {
		header += 4; /* HT control */
		if (!cursor_skip(c, 4))
			return STEP_TRUNCATED;
	}
	if (padded && !cursor_skip(c, -header & 3))
		return STEP_TRUNCATED;
	return STEP_LLC;
}

static enum step step_wifi_plain(struct cursor *c)
{
	return step_wifi(c, false);
}

static enum step step_wifi_padded(struct cursor *c)
{
	return step_wifi(c, true);
}

/* ---- putting them together ---- */

static enum step (*const steps[])(struct cursor *c) = {
	[STEP_ETHERNET] = step_ethernet,
	[STEP_ETHERTYPE] = step_ethertype,
	[STEP_VLAN] = step_vlan,
	[STEP_LLC] = step_llc,
	[STEP_PPPOE] = step_pppoe,
	[STEP_PPP] = step_ppp,
	[STEP_PPP_PROTOCOL] = step_ppp_protocol,
	[STEP_HDLC] = step_hdlc,
	[STEP_MPLS] = step_mpls,
	[STEP_SLL] = step_sll,
	[STEP_SLL2] = step_sll2,
	[STEP_NULL] = step_null,
	[STEP_LOOP] = step_loop,
	[STEP_NFLOG] = step_nflog,
	[STEP_RADIOTAP] = step_radiotap,
	[STEP_WIFI] = step_wifi_plain,
	[STEP_WIFI_PADDED] = step_wifi_padded,
};
static_assert(sizeof(steps) / sizeof(steps[0]) == STEP_IP, "one function for each header");

/* What a frame of this type starts with; -1: not supported */
static int first_step(int linktype)
{
	switch (linktype) {
	case DLT_EN10MB:
		return STEP_ETHERNET;
	case DLT_RAW:
	case DLT_IPV4:
	case DLT_IPV6:
		return STEP_IP;
	case DLT_NULL:
		return STEP_NULL;
	case DLT_LOOP:
		return STEP_LOOP;
	case DLT_PPP:
	case DLT_PPP_SERIAL:
		return STEP_PPP;
	case DLT_PPP_ETHER:
		return STEP_PPPOE;
	case DLT_C_HDLC:
		return STEP_HDLC;
	case DLT_MPLS:
		return STEP_MPLS;
	case DLT_LINUX_SLL:
		return STEP_SLL;
	case DLT_LINUX_SLL2:
		return STEP_SLL2;
	case DLT_NFLOG:
		return STEP_NFLOG;
	case DLT_IEEE802_11:
		return STEP_WIFI;
	case DLT_IEEE802_11_RADIO:
		return STEP_RADIOTAP;
	default:
		return -1;
	}
}

bool link_supported(int linktype)
{
	return first_step(linktype) >= 0;
}

enum link_result link_strip(const uint8_t *bytes, size_t len, int linktype, struct link_payload *out)
{
	struct cursor c = { .bytes = bytes, .len = len, .at = 0 };
	int first = first_step(linktype);
	enum step step = first < 0 ? STEP_NOT_IP : (enum step)first;

	for (unsigned i = 0; step < STEP_IP; i++) {
		if (i == MAX_STEPS)
			return LINK_DEEP;
		step = steps[step](&c);
	}
	if (step != STEP_IP)
		return step == STEP_TRUNCATED ? LINK_TRUNCATED : LINK_NOT_IP;
	out->len = c.len - c.at;
	out->bytes = cursor_take(&c, out->len);
	return LINK_OK;
}

const char *link_result_name(enum link_result result)
{
	static const char *const names[] = {
		[LINK_OK] = "ok",
		[LINK_NOT_IP] = "not IP",
		[LINK_TRUNCATED] = "frame cut short",
		[LINK_DEEP] = "too many headers",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == LINK_RESULTS, "one name for each result");
	return names[result];
}
