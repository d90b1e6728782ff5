/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/entry.c - libnetfilter_conntrack's entry -> plain struct
 */
#include <arpa/inet.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include "conntrack/entry.h"

static void get_addr(const struct nf_conntrack *ct, enum nf_conntrack_attr v4, enum nf_conntrack_attr v6, int family,
		     struct flow_addr *out)
{
	const void *bytes = nfct_get_attr(ct, family == 4 ? v4 : v6);

	memset(out, 0, sizeof(*out));
	if (!bytes)
		return;
	if (family == 6) {
		memcpy(out->b, bytes, 16);
		return;
	}
	out->b[10] = out->b[11] = 0xff;
	memcpy(out->b + 12, bytes, 4);
}

static bool protocol_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
	       protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP;
}

void conntrack_decode(const struct nf_conntrack *ct, struct conntrack_entry *out)
{
	struct flow *flow = &out->flow;

	memset(out, 0, sizeof(*out));
	flow->family = nfct_get_attr_u8(ct, ATTR_ORIG_L3PROTO) == AF_INET6 ? 6 : 4;
	flow->protocol = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO);
	get_addr(ct, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, flow->family, &flow->src);
	get_addr(ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, flow->family, &flow->dst);
	get_addr(ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, flow->family, &out->reply_src);
	get_addr(ct, ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST, flow->family, &out->reply_dst);
	flow->ports = protocol_has_ports(flow->protocol);
	if (flow->ports) {
		flow->sport = ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_SRC));
		flow->dport = ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST));
		out->reply_sport = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC));
		out->reply_dport = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_DST));
	} else if (nfct_attr_is_set(ct, ATTR_ICMP_ID) > 0) {
		flow->sport = ntohs(nfct_get_attr_u16(ct, ATTR_ICMP_ID));
	}
	out->mark = nfct_get_attr_u32(ct, ATTR_MARK);
	out->timeout = nfct_get_attr_u32(ct, ATTR_TIMEOUT);
	out->status = nfct_get_attr_u32(ct, ATTR_STATUS);
	if (flow->protocol == IPPROTO_TCP)
		out->tcp_state = nfct_get_attr_u8(ct, ATTR_TCP_STATE);
	out->packets[0] = nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_PACKETS);
	out->packets[1] = nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_PACKETS);
	out->bytes[0] = nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_BYTES);
	out->bytes[1] = nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_BYTES);
	out->id = nfct_get_attr_u32(ct, ATTR_ID);
	out->started = nfct_get_attr_u64(ct, ATTR_TIMESTAMP_START);
	out->stopped = nfct_get_attr_u64(ct, ATTR_TIMESTAMP_STOP);
}
