/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_latency.c - the lowest measured round trip among links that are not loaded
 *
 * Theory of operation. Only links that are given flows are measured. So a link of which
 * nothing is known counts as the best for one flow (of each worker), and every
 * EXPLORE-th flow goes by least-load among all links with room, where those that
 * latency avoids are the emptiest: a link that was slow once gets its chance to be
 * measured again. All links loaded: least-load.
 */
#include "policy/sched_private.h"

#define EXPLORE 64

static uint32_t rtt_of(const struct sched_input *input, unsigned link)
{
	return atomic_load_explicit(&input->runtime->rtt_us[link], memory_order_relaxed);
}

/* Links that were never measured */
static uint64_t unknown(const struct sched_input *input, uint64_t links)
{
	uint64_t found = 0;

	for (; links; links &= links - 1) {
		if (!rtt_of(input, sched_lowest(links)))
			found |= links & -links;
	}
	return found;
}

/* Measured links whose round trip is not a tenth longer than the shortest; 0: none is measured */
static uint64_t nearest(const struct sched_input *input, uint64_t links)
{
	uint64_t best = UINT64_MAX, found = 0;

	for (uint64_t left = links; left; left &= left - 1) {
		const uint32_t rtt = rtt_of(input, sched_lowest(left));

		if (rtt && rtt < best)
			best = rtt;
	}
	for (; links; links &= links - 1) {
		const uint64_t rtt = rtt_of(input, sched_lowest(links));

		if (rtt && rtt * 10 < best * 11)
			found |= links & -links;
	}
	return found;
}

/* Links to choose from by least-load; *untried: one of those that were not measured yet */
static uint64_t choose(const struct sched_latency *memory, const struct sched_input *input, bool *untried)
{
	const uint64_t room = sched_with_room(input);
	const uint64_t fresh = unknown(input, room) & ~atomic_load_explicit(&memory->tried, memory_order_relaxed);
	uint64_t near;

	*untried = fresh != 0;
	if (!room)
		return input->candidates;
	if (fresh)
		return fresh;
	if (atomic_load_explicit(&memory->turns, memory_order_relaxed) % EXPLORE == EXPLORE - 1)
		return room;
	near = nearest(input, room);
	return near ? near : room;
}

/* One writer: plain additions, published without a locked instruction */
static void account(struct sched_latency *memory, unsigned link, bool untried)
{
	const uint64_t tried = atomic_load_explicit(&memory->tried, memory_order_relaxed);
	const uint32_t turns = atomic_load_explicit(&memory->turns, memory_order_relaxed);

	atomic_store_explicit(&memory->tried, tried | (uint64_t)untried << link, memory_order_relaxed);
	atomic_store_explicit(&memory->turns, turns + 1, memory_order_relaxed);
}

static unsigned latency_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_latency *memory = &state->latency[input->slot];
	struct sched_input among = *input;
	bool untried;
	unsigned link;

	among.candidates = choose(memory, input, &untried);
	link = sched_least_load_ops.pick(state, &among);
	account(memory, link, untried);
	return link;
}

static unsigned latency_peek(const struct sched_state *state, const struct sched_input *input,
			     int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_input among = *input;
	bool untried;

	among.candidates = choose(&state->latency[input->slot], input, &untried);
	/* higher is nearer: shown are the round trips, negative */
	for (uint64_t links = input->candidates; links; links &= links - 1)
		scores[sched_lowest(links)] = -(int64_t)rtt_of(input, sched_lowest(links));

	int64_t flows[CONFIG_MAX_LINKS];

	return sched_least_load_ops.peek(state, &among, flows);
}

const struct sched_ops sched_latency_ops = { .pick = latency_pick, .peek = latency_peek };
