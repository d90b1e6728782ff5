/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/table.h - the kernel's connections, read
 *
 * Dumps are driven by the caller: the kernel produces the next part only when
 * conntrack_dump_read() is called, so a slow consumer slows the dump, not the
 * process. Needs CAP_NET_ADMIN. One thread.
 */
#ifndef CONNTRACK_TABLE_H
#define CONNTRACK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/flow.h"

struct conntrack_entry {
	struct flow flow; /* original direction; dscp 0 */
	struct flow_addr reply_src, reply_dst; /* reply direction: what NAT made of it */
	uint16_t reply_sport, reply_dport;
	uint32_t mark; /* all 32 bits */
	uint32_t timeout; /* seconds left */
	uint32_t status; /* IPS_* bits */
	uint8_t tcp_state; /* TCP_CONNTRACK_*, 0 for other protocols */
	uint64_t packets[2], bytes[2]; /* original, reply; 0 without nf_conntrack_acct */
	uint32_t id; /* the kernel's, the same in every event of one entry */
	/* ns since 1970, 0 without nf_conntrack_timestamp */
	uint64_t started, stopped; /* both in DESTROY events, `started` in dumps */
	uint64_t happened; /* what an event tells of; Linux 6.14 and later, else 0 */
};

typedef void conntrack_each(const struct conntrack_entry *entry, void *data);

struct conntrack_dump;

/* Start a dump of entries with (mark & mask) == value (mask 0: all), family 4, 6 or 0 for both.
 * NULL with errno set on failure. */
struct conntrack_dump *conntrack_dump_start(uint32_t value, uint32_t mask, int family);
int conntrack_dump_fd(const struct conntrack_dump *dump); /* readable when the next part is there */
/* Hand the next part to `each`. 1: more to come, 0: finished, -1: errno says why. */
int conntrack_dump_read(struct conntrack_dump *dump, conntrack_each *each, void *data);
void conntrack_dump_free(struct conntrack_dump *dump);

/* The entry whose original or reply tuple is `flow` (ports and protocol included).
 * 1: found, 0: no such entry, -1: errno says why. */
int conntrack_get(const struct flow *flow, struct conntrack_entry *out);

/* "SYN_SENT", "ESTABLISHED", ...; "" for state 0 */
const char *conntrack_tcp_state_name(uint8_t state);

#endif
