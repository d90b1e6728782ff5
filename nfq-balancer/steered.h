/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/steered.h - from a worker to the control thread: which flow got which link
 *
 * A ring with one producer (the worker) and one consumer (the control thread); neither
 * ever waits. What does not fit is counted by link: the consumer then takes these flows
 * back and counts them when the kernel reports them, so no count drifts.
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
	_Alignas(64) _Atomic uint32_t head; /* next to write; producer */
	_Atomic uint32_t untold[CONFIG_MAX_LINKS]; /* by link: did not fit; producer, running totals */
	_Alignas(64) _Atomic uint32_t tail; /* next to read; consumer */
	struct steered slot[STEERED_RING];
};

static inline void steered_put(struct steered_ring *ring, uint64_t key, unsigned link)
{
	const uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	const uint32_t untold = atomic_load_explicit(&ring->untold[link], memory_order_relaxed);

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) == STEERED_RING) {
		atomic_store_explicit(&ring->untold[link], untold + 1, memory_order_relaxed);
		return;
	}
	ring->slot[head % STEERED_RING] = (struct steered){ key, link };
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static inline bool steered_take(struct steered_ring *ring, struct steered *out)
{
	const uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	if (tail == atomic_load_explicit(&ring->head, memory_order_acquire))
		return false;
	*out = ring->slot[tail % STEERED_RING];
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

#endif
