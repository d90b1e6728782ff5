/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/timers.h - a binary heap of things that are due, the earliest first
 *
 * Nothing is ever taken out of its middle: who sets a timer again leaves the old
 * entry behind, and ignores it when it comes up.
 */
#ifndef TESTS_TOOLS_TIMERS_H
#define TESTS_TOOLS_TIMERS_H

#include "tests/tools/traffic.h"

struct timer {
	uint64_t due; /* microseconds */
	uint32_t slot; /* whose */
};

struct timers {
	struct timer *heap;
	size_t n, room;
};

static inline void timers_add(struct timers *timers, uint64_t due, uint32_t slot)
{
	size_t i = timers->n++;

	if (timers->n > timers->room) {
		timers->room = timers->room ? timers->room * 2 : 4096;
		timers->heap = traffic_realloc(timers->heap, timers->room * sizeof(*timers->heap));
	}
	for (; i && timers->heap[(i - 1) / 2].due > due; i = (i - 1) / 2)
		timers->heap[i] = timers->heap[(i - 1) / 2];
	timers->heap[i] = (struct timer){ due, slot };
}

/* The earliest; there must be one */
static inline struct timer timers_pop(struct timers *timers)
{
	struct timer *heap = timers->heap, top = heap[0], last = heap[--timers->n];
	size_t i = 0;

	for (size_t child = 1; child < timers->n; child = 2 * i + 1) {
		if (child + 1 < timers->n && heap[child + 1].due < heap[child].due)
			child++;
		if (heap[child].due >= last.due)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

#endif
