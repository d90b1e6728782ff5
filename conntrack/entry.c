/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/entry.c - the kernel's message about an entry -> plain struct
 *
 * Only what is used is looked at, once, with libmnl: libnetfilter_conntrack's parser takes
 * four times as long, and a look at the whole table is mostly this.
 */
#include "conntrack/entry.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#define EVENT_TIMESTAMP 27 /* CTA_TIMESTAMP_EVENT; not in every system's headers */

/* ---- attributes by their type; newer ones than these are not looked at ---- */

#define ATTRIBUTES 28 /* of an entry */
#define INSIDE 8 /* of what is inside one of these: small, since it is cleared for each */

_Static_assert(CTA_TIMESTAMP < ATTRIBUTES && EVENT_TIMESTAMP < ATTRIBUTES, "room for every attribute that is read");
_Static_assert(CTA_TUPLE_PROTO < INSIDE && CTA_IP_V6_DST < INSIDE && CTA_PROTO_ICMPV6_ID < INSIDE &&
		       CTA_PROTOINFO_TCP < INSIDE && CTA_PROTOINFO_TCP_STATE < INSIDE && CTA_COUNTERS_BYTES < INSIDE &&
		       CTA_TIMESTAMP_STOP < INSIDE,
	       "room for every attribute inside another that is read");

struct inside {
	const struct nlattr *at[INSIDE];
};

static void keep_attributes(const struct nlattr *attr, const char *end, const struct nlattr **at, unsigned types)
{
	for (; mnl_attr_ok(attr, (int)(end - (const char *)attr)); attr = mnl_attr_next(attr)) {
		const uint16_t type = mnl_attr_get_type(attr);

		if (type < types)
			at[type] = attr;
	}
}

/* What is inside `nest`, which may be absent */
static struct inside open_nest(const struct nlattr *nest)
{
	struct inside inside = { { NULL } };

	if (nest) {
		const char *begin = mnl_attr_get_payload(nest);

		keep_attributes((const void *)begin, begin + mnl_attr_get_payload_len(nest), inside.at, INSIDE);
	}
	return inside;
}

/* ---- numbers; 0 where there is none of this length ---- */

static bool has_length(const struct nlattr *attr, uint16_t length)
{
	return attr && mnl_attr_get_payload_len(attr) == length;
}

static uint8_t read_u8(const struct nlattr *attr)
{
	return has_length(attr, 1) ? mnl_attr_get_u8(attr) : 0;
}

static uint16_t read_u16(const struct nlattr *attr)
{
	return has_length(attr, 2) ? ntohs(mnl_attr_get_u16(attr)) : 0;
}

static uint32_t read_u32(const struct nlattr *attr)
{
	return has_length(attr, 4) ? ntohl(mnl_attr_get_u32(attr)) : 0;
}

static uint64_t read_u64(const struct nlattr *attr)
{
	return has_length(attr, 8) ? be64toh(mnl_attr_get_u64(attr)) : 0;
}

/* ---- tuples ---- */

struct tuple {
	struct flow_addr src, dst;
	uint16_t sport, dport;
	uint8_t family, protocol;
	bool ports;
};

static void read_addr(const struct nlattr *v4, const struct nlattr *v6, struct flow_addr *out)
{
	if (has_length(v4, 4)) {
		out->b[10] = out->b[11] = 0xff;
		memcpy(out->b + 12, mnl_attr_get_payload(v4), 4);
	} else if (has_length(v6, 16)) {
		memcpy(out->b, mnl_attr_get_payload(v6), 16);
	}
}

static struct tuple read_tuple(const struct nlattr *nest)
{
	const struct inside a = open_nest(nest);
	const struct inside ip = open_nest(a.at[CTA_TUPLE_IP]), proto = open_nest(a.at[CTA_TUPLE_PROTO]);
	struct tuple out = { .family = ip.at[CTA_IP_V4_SRC] ? 4 : ip.at[CTA_IP_V6_SRC] ? 6 : 0 };

	read_addr(ip.at[CTA_IP_V4_SRC], ip.at[CTA_IP_V6_SRC], &out.src);
	read_addr(ip.at[CTA_IP_V4_DST], ip.at[CTA_IP_V6_DST], &out.dst);
	out.protocol = read_u8(proto.at[CTA_PROTO_NUM]);
	out.ports = flow_protocol_has_ports(out.protocol);
	if (out.ports) {
		out.sport = read_u16(proto.at[CTA_PROTO_SRC_PORT]);
		out.dport = read_u16(proto.at[CTA_PROTO_DST_PORT]);
	} else {
		/* of a query, as in struct flow; 0 in other protocols */
		out.sport = read_u16(proto.at[CTA_PROTO_ICMP_ID] ? proto.at[CTA_PROTO_ICMP_ID]
								 : proto.at[CTA_PROTO_ICMPV6_ID]);
	}
	return out;
}

/* ---- entries ---- */

static uint8_t read_tcp_state(const struct nlattr *nest)
{
	const struct inside info = open_nest(nest), tcp = open_nest(info.at[CTA_PROTOINFO_TCP]);

	return read_u8(tcp.at[CTA_PROTOINFO_TCP_STATE]);
}

static void read_counters(const struct nlattr *nest, uint64_t *packets, uint64_t *bytes)
{
	const struct inside counters = open_nest(nest);

	*packets = read_u64(counters.at[CTA_COUNTERS_PACKETS]);
	*bytes = read_u64(counters.at[CTA_COUNTERS_BYTES]);
}

static void read_times(const struct nlattr *nest, struct conntrack_entry *out)
{
	const struct inside times = open_nest(nest);

	out->started = read_u64(times.at[CTA_TIMESTAMP_START]);
	out->stopped = read_u64(times.at[CTA_TIMESTAMP_STOP]);
}

static void read_original(const struct nlattr *nest, struct conntrack_entry *out)
{
	const struct tuple there = read_tuple(nest);

	out->flow.family = there.family;
	out->flow.protocol = there.protocol;
	out->flow.ports = there.ports;
	out->flow.src = there.src;
	out->flow.dst = there.dst;
	out->flow.sport = there.sport;
	out->flow.dport = there.dport;
}

static void read_reply(const struct nlattr *nest, struct conntrack_entry *out)
{
	const struct tuple back = read_tuple(nest);

	out->reply_src = back.src;
	out->reply_dst = back.dst;
	if (back.ports) {
		out->reply_sport = back.sport;
		out->reply_dport = back.dport;
	}
}

static bool decode(const struct nlmsghdr *message, bool reply, struct conntrack_entry *out)
{
	const struct nlattr *at[ATTRIBUTES] = { NULL };

	memset(out, 0, sizeof(*out));
	if (mnl_nlmsg_get_payload_len(message) < sizeof(struct nfgenmsg))
		return false;
	keep_attributes(mnl_nlmsg_get_payload_offset(message, sizeof(struct nfgenmsg)),
			mnl_nlmsg_get_payload_tail(message), at, ATTRIBUTES);
	read_original(at[CTA_TUPLE_ORIG], out);
	if (reply)
		read_reply(at[CTA_TUPLE_REPLY], out);
	out->mark = read_u32(at[CTA_MARK]);
	out->timeout = read_u32(at[CTA_TIMEOUT]);
	out->status = read_u32(at[CTA_STATUS]);
	out->id = read_u32(at[CTA_ID]);
	if (out->flow.protocol == IPPROTO_TCP)
		out->tcp_state = read_tcp_state(at[CTA_PROTOINFO]);
	read_counters(at[CTA_COUNTERS_ORIG], &out->packets[0], &out->bytes[0]);
	read_counters(at[CTA_COUNTERS_REPLY], &out->packets[1], &out->bytes[1]);
	read_times(at[CTA_TIMESTAMP], out);
	out->happened = read_u64(at[EVENT_TIMESTAMP]);
	return out->flow.family != 0;
}

bool conntrack_decode(const struct nlmsghdr *message, struct conntrack_entry *out)
{
	return decode(message, true, out);
}

bool conntrack_decode_event(const struct nlmsghdr *message, struct conntrack_entry *out)
{
	return decode(message, false, out);
}
