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
 */
#ifndef POLICY_LOAD_H
#define POLICY_LOAD_H

#include <stdatomic.h>
#include <stdint.h>

#include "policy/config.h"

struct load_counts {
	_Alignas(64) _Atomic uint32_t flows[CONFIG_MAX_LINKS]; /* by link index */
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

/* One writer per array: a plain add, published without a locked instruction */
static inline void load_add(struct load_counts *counts, unsigned link, uint32_t n)
{
	uint32_t now = atomic_load_explicit(&counts->flows[link], memory_order_relaxed);

	atomic_store_explicit(&counts->flows[link], now + n, memory_order_relaxed);
}

static inline void load_sub(struct load_counts *counts, unsigned link, uint32_t n)
{
	load_add(counts, link, -n);
}

/* Flows that are sending through the link; never negative (a stop may be seen before its start).
 * For loops: `workers` is the load's, which the compiler need not look up each time. */
static inline uint32_t load_sending_of(const struct load *load, unsigned workers, unsigned link)
{
	uint32_t sum = atomic_load_explicit(&load->followed.flows[link], memory_order_relaxed);

	sum += atomic_load_explicit(&load->steered[0].flows[link], memory_order_relaxed);
	for (unsigned i = 1; i < workers; i++)
		sum += atomic_load_explicit(&load->steered[i].flows[link], memory_order_relaxed);
	return (int32_t)sum < 0 ? 0 : sum;
}

static inline uint32_t load_sending(const struct load *load, unsigned link)
{
	return load_sending_of(load, load->workers, link);
}

#endif
