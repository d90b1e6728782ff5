/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_spillover.c - fill the first link, then the next
 *
 * Theory of operation. Traffic is measured about once a second; until the next
 * sample, every new flow would see the same figures and go the same way. So a
 * link's traffic is its last sample, corrected by the flows that have begun or
 * stopped since: each is taken for an average one of those that made the sample,
 * and a new one for no less than a BURST-th of what the link may fill, as it may turn
 * out a large one. Short flows that came and went cancel out.
 * Thus a burst between two samples puts at most BURST flows on a link, and one for
 * each other worker, before it counts as loaded and the next one is taken.
 *
 * A link that states no capacity is never loaded.
 */
#include "policy/sched_private.h"

#define CAPACITY_UNIT 10000 /* bit/s, of link_runtime_capacity() */
#define BURST 100 /* so many new flows fill a link, until the next sample tells */
#define BITS_MAX (UINT64_C(1) << 50) /* a counter gone wild must not overflow */

/* bit/s through the link now, as far as one can know; `full`: what it may carry */
static uint64_t traffic(const struct sched_input *input, unsigned link, uint64_t full)
{
	const uint32_t now = load_sending(input->load, link);
	const uint32_t then = atomic_load_explicit(&input->runtime->sending[link], memory_order_relaxed);
	uint64_t bits = atomic_load_explicit(&input->runtime->bits_down[link], memory_order_relaxed);
	uint64_t each, least;

	if (bits > BITS_MAX)
		bits = BITS_MAX;
	each = then ? bits / then : 0;
	if (now <= then)
		return bits - each * (then - now);
	least = (full + BURST - 1) / BURST;
	if (each < least)
		each = least;
	return bits + each * (now - then < BURST ? now - then : BURST);
}

uint64_t sched_with_room(const struct sched_input *input)
{
	uint64_t found = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const uint64_t capacity = link_runtime_capacity(input->runtime, i);
		const uint64_t full = capacity * (CAPACITY_UNIT / 100) * input->group->spill_at;

		if (!capacity || traffic(input, i, full) < full)
			found |= UINT64_C(1) << i;
	}
	return found;
}

/* The first of these in the group's list; `links` is not 0 */
static unsigned first_listed(const struct sched_input *input, uint64_t links)
{
	unsigned first = sched_lowest(links);

	for (; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		if (input->group->rank[i] < input->group->rank[first])
			first = i;
	}
	return first;
}

static unsigned spillover_pick(struct sched_state *state, const struct sched_input *input)
{
	const uint64_t room = sched_with_room(input);

	return room ? first_listed(input, room) : sched_least_load_ops.pick(state, input);
}

static unsigned spillover_peek(const struct sched_state *state, const struct sched_input *input,
			       int64_t scores[CONFIG_MAX_LINKS])
{
	const unsigned least = sched_least_load_ops.peek(state, input, scores);
	const uint64_t room = sched_with_room(input);

	return room ? first_listed(input, room) : least;
}

const struct sched_ops sched_spillover_ops = { .pick = spillover_pick, .peek = spillover_peek };
