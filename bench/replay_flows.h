/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_flows.h - the flows of a capture, as conntrack would know them
 *
 * A flow is a tuple that was not seen before in either direction, or not for
 * longer than its idle timeout. Entries stay until the end, so that a capture can
 * be listed; memory grows with the number of different tuples.
 */
#ifndef BENCH_REPLAY_FLOWS_H
#define BENCH_REPLAY_FLOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/flow.h"

/* What a flow's idle timeout depends on; the kernel's nf_conntrack_*_timeout are the defaults */
enum flow_class {
	FLOW_TCP, /* both sides have spoken */
	FLOW_TCP_NEW, /* nothing came back yet */
	FLOW_TCP_CLOSED, /* FIN from both sides, or a reset; a SYN begins a new flow at once */
	FLOW_UDP, /* nothing came back yet */
	FLOW_UDP_STREAM,
	FLOW_ICMP,
	FLOW_SCTP,
	FLOW_OTHER,
	FLOW_CLASSES
};

struct seen_flow {
	struct flow flow; /* in the direction first seen */
	uint64_t first, last; /* ms */
	uint64_t packets[2]; /* in that direction, and back */
	uint64_t bytes; /* of IP on the wire, both directions */
	bool outbound; /* leads from the LAN to the outside */
	bool fin[2], reset; /* TCP: how far it is closed */
	bool decided;
	uint64_t decided_at; /* ms */
	int16_t link; /* index into config.links, or -1 */
};

struct flow_table; /* private: replay_flows.c */

/* The flags of a TCP header, as far as they begin and end flows */
#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10

struct flow_table *flow_table_new(void); /* NULL: out of memory */
void flow_table_free(struct flow_table *table);

/* "udp-stream=180": seconds. Returns false when the text says nothing useful. */
bool flow_table_set_timeout(struct flow_table *table, const char *text);

/* No flow ever ends: one entry for each tuple of the capture */
void flow_table_keep(struct flow_table *table);

/* Count a packet; `tcp_flags` are 0 for other protocols. Returns its flow, or NULL when memory is out; `*back` is set for
 * a packet against the direction first seen. A flow with one packet is new. */
struct seen_flow *flow_table_see(struct flow_table *table, const struct flow *flow, uint8_t tcp_flags, uint64_t now,
				 bool *back);

/* All flows in the order first seen: *n of them */
struct seen_flow *const *flow_table_all(const struct flow_table *table, size_t *n);

#endif
