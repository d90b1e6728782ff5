/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/snapshot.h - a policy with what the adapters add to it
 *
 * Published to the workers as one pointer (liburcu, QSBR) and freed after a grace
 * period. Immutable except for the interface indices, which the control thread
 * follows as interfaces come and go.
 */
#ifndef NFQB_SNAPSHOT_H
#define NFQB_SNAPSHOT_H

#include <stdatomic.h>

#include "conntrack/mark.h"
#include "policy/policy.h"

struct snapshot {
	struct policy *policy; /* owned */
	uint64_t number; /* 1, 2, ...: an address may be used again while a worker sleeps, a number is not */
	struct conntrack_mark_attr link_attr[CONFIG_MAX_LINKS]; /* by link index */
	struct conntrack_mark_attr main_attr;
	_Atomic unsigned n_ifaces; /* places in use, as far as they were ever: what a packet looks through */
	_Atomic uint64_t iface[CONFIG_MAX_IFACES]; /* ifindex << 16 | slot, 0: free */
};

/* Takes `policy`, also when it fails (NULL: out of memory) */
struct snapshot *snapshot_new(struct policy *policy);
void snapshot_free(struct snapshot *snapshot);

/* An interface exists (again), or is gone (`name` NULL). Control thread only. */
void snapshot_set_iface(struct snapshot *snapshot, unsigned ifindex, const char *name);
/* The interfaces that exist now, and no other: the kernel is asked. Control thread only. */
void snapshot_scan_ifaces(struct snapshot *snapshot);

/* Slot of an interface for struct flow_meta, 0: no rule names it */
static inline uint16_t snapshot_iface_slot(const struct snapshot *snapshot, uint32_t ifindex)
{
	const unsigned n = atomic_load_explicit(&snapshot->n_ifaces, memory_order_relaxed);

	for (unsigned i = 0; i < n; i++) {
		uint64_t entry = atomic_load_explicit(&snapshot->iface[i], memory_order_relaxed);

		if (entry >> 16 == ifindex)
			return (uint16_t)entry;
	}
	return 0;
}

#endif
