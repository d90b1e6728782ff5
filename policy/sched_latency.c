/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_latency.c - the lowest measured round trip among links that are not loaded
 *
 * Theory of operation. Only links that are given flows are measured. So a link of which
 * nothing is known counts as the best for one flow (of each worker), and one flow
 * in EXPLORE goes by least-load among all links with room, where those that
 * latency avoids are the emptiest: a link that was slow once gets its chance to be
 * measured again. All links loaded: least-load.
 */
#include "policy/sched_private.h"

#define EXPLORE 64
#define GOLDEN UINT32_C(2654435769) /* 2^32 by the golden ratio */
#define AHEAD 90 /* so that the first of these flows is the 89th */

struct choice {
	uint64_t links;
	bool untried; /* they were not measured yet */
};

/* One in EXPLORE, at distances of 34, 55 and 89 (multiples of the golden ratio are spread evenly, without a
 * period: Knuth, The Art of Computer Programming 3, 6.4). At a fixed distance it could always be the turn of the
 * same half of the links. */
static bool explores(const struct sched_group *memory)
{
	const uint32_t turns = atomic_load_explicit(&memory->turns, memory_order_relaxed);

	return (turns + AHEAD) * GOLDEN < UINT32_MAX / EXPLORE + 1;
}

/* Links to choose from by least-load; all candidates: those with room first */
static struct choice choose(const struct sched_group *memory, struct sched_lineup *lineup,
			    const struct sched_input *input)
{
	const struct sched_room *room = &lineup->room;
	uint64_t fresh;

	sched_room_learn(lineup, input);
	sched_counts_follow(lineup, input);
	fresh = room->links & room->unmeasured & ~atomic_load_explicit(&memory->tried, memory_order_relaxed);
	if (fresh)
		return (struct choice){ fresh, true };
	if (!room->timed.room || explores(memory))
		return (struct choice){ input->candidates, false };
	return (struct choice){ room->links & room->near[sched_lowest(room->timed.room)], false };
}

static unsigned pick_of(struct choice choice, struct sched_lineup *lineup, const struct sched_input *input,
			double noise)
{
	if (!(choice.links & (choice.links - 1)))
		return sched_lowest(choice.links);
	if (choice.links == input->candidates)
		return sched_least_loaded(lineup, input, noise);
	return sched_least_loaded_of(lineup, input, choice.links, noise);
}

/* One writer: plain additions, published without a locked instruction */
static void account(struct sched_group *memory, unsigned link, bool untried)
{
	const uint64_t tried = atomic_load_explicit(&memory->tried, memory_order_relaxed);
	const uint32_t turns = atomic_load_explicit(&memory->turns, memory_order_relaxed);

	atomic_store_explicit(&memory->tried, tried | (uint64_t)untried << link, memory_order_relaxed);
	atomic_store_explicit(&memory->turns, turns + 1, memory_order_relaxed);
}

static unsigned latency_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_group *memory = &state->group[input->slot];
	struct sched_lineup *lineup = sched_lineup_get(state, input);
	const struct choice choice = choose(memory, lineup, input);
	const unsigned link = pick_of(choice, lineup, input, sched_noise_kept(state, input->load));

	account(memory, link, choice.untried);
	return link;
}

/* Scores: the round trips, negative */
static unsigned latency_peek(const struct sched_state *state, const struct sched_input *input,
			     int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = -(int64_t)link_runtime_measured(input->runtime, i).rtt_us;
	}
	sched_lineup_copy(&lineup, state, input);
	return pick_of(choose(&state->group[input->slot], &lineup, input), &lineup, input, sched_noise(input->load));
}

const struct sched_ops sched_latency_ops = { .pick = latency_pick, .peek = latency_peek };
