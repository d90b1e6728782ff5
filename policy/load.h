/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/load.h - how many flows are sending through each link now
 *
 * The live load of a link is a count of flows, at most as old as the kernel's events:
 * +1 by the worker that steers a flow, at once, so that a burst cannot herd; -1 by
 * the control thread when the flow stops sending (policy/track.h). Bytes per second
 * and conntrack entries were simulated and are worse than none (NOTES.md, "Live load").
 *
 * Every array has one writer; readers sum. Counts are modulo 2^32: only differences mean something.
 * The last changes are listed beside the counts, so that a reader who keeps what follows
 * from them (policy/sched_counts.c) need not look at all links for each decision.
 */
#ifndef POLICY_LOAD_H
#define POLICY_LOAD_H

#include <stdatomic.h>
#include <stdint.h>

#include "policy/config.h"

#define LOAD_CHANGES 32 /* so many are listed; a power of two */

struct load_counts {
	_Alignas(64) _Atomic uint32_t flows[CONFIG_MAX_LINKS]; /* by link index */
	_Atomic uint32_t changes; /* so far; modulo 2^32 */
	_Atomic uint8_t changed[LOAD_CHANGES]; /* which link, by the change's number modulo LOAD_CHANGES */
};

struct load {
	struct load_counts steered[CONFIG_MAX_QUEUES]; /* by worker: flows it gave to the link */
	/* control thread: flows that started without a worker (fallback, inbound, before the start), less all
	 * that stopped sending or never left */
	struct load_counts followed;
	unsigned workers; /* how many of `steered` are in use; fixed before the first decision */
	/* control thread: departures that have happened but are not reported yet, estimated
	 * (departures per second x delay of events), in flows over all links */
	_Atomic uint32_t unreported;
};

/* One writer per array: plain stores in this order, published without a locked instruction */
static inline void load_add(struct load_counts *counts, unsigned link, uint32_t n)
{
	const uint32_t now = atomic_load_explicit(&counts->flows[link], memory_order_relaxed);
	const uint32_t changes = atomic_load_explicit(&counts->changes, memory_order_relaxed);

	atomic_store_explicit(&counts->flows[link], now + n, memory_order_relaxed);
	atomic_store_explicit(&counts->changed[changes % LOAD_CHANGES], (uint8_t)link, memory_order_release);
	atomic_store_explicit(&counts->changes, changes + 1, memory_order_release);
}

static inline void load_sub(struct load_counts *counts, unsigned link, uint32_t n)
{
	load_add(counts, link, -n);
}

/* Links whose counts have changed since *seen, as bits, which is moved to now; all bits if too much has changed
 * since. Counts that are read afterwards are at least as new. */
static inline uint64_t load_changed(const struct load_counts *counts, uint32_t *seen)
{
	const uint32_t from = *seen, to = atomic_load_explicit(&counts->changes, memory_order_acquire);
	uint64_t links = 0;

	*seen = to;
	if (from == to)
		return 0;
	if (to - from >= LOAD_CHANGES)
		return UINT64_MAX;
	for (uint32_t change = from; change != to; change++) {
		const unsigned link =
			atomic_load_explicit(&counts->changed[change % LOAD_CHANGES], memory_order_acquire);

		links |= UINT64_C(1) << link;
	}
	/* meanwhile the writer may have come round to what was just read */
	if (atomic_load_explicit(&counts->changes, memory_order_relaxed) - from >= LOAD_CHANGES)
		return UINT64_MAX;
	return links;
}

/* Flows that are sending through the link; never negative (a stop may be seen before its start) */
static inline uint32_t load_sending(const struct load *load, unsigned link)
{
	uint32_t sum = atomic_load_explicit(&load->followed.flows[link], memory_order_relaxed);

	for (unsigned i = 0; i < load->workers; i++)
		sum += atomic_load_explicit(&load->steered[i].flows[link], memory_order_relaxed);
	return (int32_t)sum < 0 ? 0 : sum;
}

#endif
