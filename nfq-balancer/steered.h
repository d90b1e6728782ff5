/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/steered.h - from a worker to the control thread: which flow got which link
 *
 * A ring with one producer (the worker) and one consumer (the control thread); neither
 * ever waits, and each looks at the other's cache line once per batch, not once per flow.
 * What does not fit is counted by link: the consumer then takes these flows back and counts
 * them when the kernel reports them, so no count drifts.
 */
#ifndef NFQB_STEERED_H
#define NFQB_STEERED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy/config.h"

#define STEERED_RING 65536 /* half a second of flows at 130,000/s; memory is touched as it fills */

struct steered {
	uint64_t key; /* decision.tuple */
	uint32_t link; /* index */
};

struct steered_ring {
	/* producer */
	_Alignas(64) uint32_t next; /* to write */
	uint32_t end; /* of the room that was seen free: the tail as last looked at, one round on */
	_Atomic uint32_t untold[CONFIG_MAX_LINKS]; /* by link: did not fit; running totals */
	_Alignas(64) _Atomic uint32_t head; /* end of what is told; producer */
	_Alignas(64) _Atomic uint32_t tail; /* next to read; consumer */
	_Alignas(64) struct steered slot[STEERED_RING];
};

static inline void steered_put(struct steered_ring *ring, uint64_t key, unsigned link)
{
	if (ring->next == ring->end)
		ring->end = atomic_load_explicit(&ring->tail, memory_order_acquire) + STEERED_RING;
	if (ring->next == ring->end) {
		const uint32_t untold = atomic_load_explicit(&ring->untold[link], memory_order_relaxed);

		atomic_store_explicit(&ring->untold[link], untold + 1, memory_order_relaxed);
		return;
	}
	ring->slot[ring->next++ % STEERED_RING] = (struct steered){ key, link };
}

/* Tell what was put. Before the verdicts leave: so the kernel's event of a flow always comes later. */
static inline void steered_tell(struct steered_ring *ring)
{
	if (ring->next != atomic_load_explicit(&ring->head, memory_order_relaxed))
		atomic_store_explicit(&ring->head, ring->next, memory_order_release);
}

/* How many were told and not yet taken */
static inline uint32_t steered_waiting(const struct steered_ring *ring)
{
	return atomic_load_explicit(&ring->head, memory_order_acquire) -
	       atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

/* The one that is `ahead` of the oldest, of those that wait */
static inline const struct steered *steered_at(const struct steered_ring *ring, uint32_t ahead)
{
	return &ring->slot[(atomic_load_explicit(&ring->tail, memory_order_relaxed) + ahead) % STEERED_RING];
}

static inline void steered_drop(struct steered_ring *ring, uint32_t n)
{
	const uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	atomic_store_explicit(&ring->tail, tail + n, memory_order_release);
}

#endif
