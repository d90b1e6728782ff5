/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/flow.h - what one packet says about its flow
 *
 * Pure values: no pointers, no ownership, safe to copy between threads.
 * Addresses of both families are kept in 16 bytes, IPv4 as ::ffff:a.b.c.d
 * (RFC 4291 2.5.5.2), so that one prefix comparison serves both.
 */
#ifndef POLICY_FLOW_H
#define POLICY_FLOW_H

#include <stdbool.h>
#include <stdint.h>

struct flow_addr {
	uint8_t b[16]; /* network byte order; IPv4-mapped for IPv4 */
};

/* A network: `bits` counts in the 128-bit form, 96 + n for an IPv4 /n */
struct flow_net {
	struct flow_addr addr; /* host bits are zero */
	uint8_t bits;
	uint8_t family; /* 4 or 6 */
};

/* The original direction of a flow as the LAN host or the router sent it,
 * before NAT (the queue stands at priority -150, NAT at -100) */
struct flow {
	struct flow_addr src;
	struct flow_addr dst;
	uint16_t sport; /* host byte order; ICMP queries: the identifier */
	uint16_t dport; /* host byte order; 0 where the protocol has none */
	uint8_t family; /* 4 or 6 */
	uint8_t protocol; /* IANA protocol number, after IPv6 extension headers */
	uint8_t dscp; /* 0..63 */
	bool ports; /* sport and dport are ports (TCP, UDP, UDP-Lite, SCTP, DCCP) */
};

/* What the kernel knows about the packet beside its bytes */
struct flow_meta {
	uint32_t mark; /* packet mark as queued, all 32 bits */
	uint16_t iface; /* slot of the input interface (policy_iface_slot()), 0: none that a rule names */
	bool from_router; /* sent by the router itself (OUTPUT hook) */
};

/* "192.0.2.1" or "2001:db8::1"; `out` holds FLOW_ADDR_STRLEN bytes, returned */
#define FLOW_ADDR_STRLEN 46
char *flow_addr_str(const struct flow_addr *addr, char *out);

/* TCP, UDP, DCCP, SCTP, UDP-Lite */
static inline bool flow_protocol_has_ports(uint8_t protocol)
{
	return protocol == 6 || protocol == 17 || protocol == 33 || protocol == 132 || protocol == 136;
}

/* 4 or 6 */
int flow_addr_family(const struct flow_addr *addr);

/* Parse either family. Returns 4 or 6, or 0 when `text` is no address. */
int flow_addr_parse(const char *text, struct flow_addr *out);

/* Parse "addr" or "addr/len". Returns false when `text` is no network or has host bits set. */
bool flow_net_parse(const char *text, struct flow_net *out);

bool flow_net_contains(const struct flow_net *net, const struct flow_addr *addr);

/* Keyed 64-bit hashes of a flow, for tables of fingerprints (the key is random per
 * process, so that nobody outside can aim at a bucket). The first is SipHash-1-3: every
 * packet pays for it, and its values stay inside the process. The second leaves out protocol
 * and ports; it is SipHash-2-4, and under a fixed key the same on every machine. */
uint64_t flow_hash_tuple(const struct flow *flow, const uint64_t key[2]);
uint64_t flow_hash_hosts(const struct flow *flow, bool with_dst, uint32_t salt, const uint64_t key[2]);

#endif
