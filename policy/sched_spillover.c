/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_spillover.c - fill the first link, then the next (sched_room.c)
 */
#include "policy/sched_private.h"

/* The first in the group's list that has room; if none has, the least loaded one */
static unsigned choose(struct sched_lineup *lineup, const struct sched_input *input, double noise)
{
	const struct sched_order *listed = &lineup->room.listed;

	sched_room_learn(lineup, input);
	sched_counts_follow(lineup, input);
	return listed->room ? listed->link[sched_lowest(listed->room)] : sched_least_loaded(lineup, input, noise);
}

static unsigned spillover_pick(struct sched_state *state, const struct sched_input *input)
{
	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	return choose(sched_lineup_get(state, input), input, sched_noise_kept(state, input->load));
}

/* Scores: the flows, negative */
static unsigned spillover_peek(const struct sched_state *state, const struct sched_input *input,
			       int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;

	sched_least_load_ops.peek(state, input, scores);
	sched_lineup_copy(&lineup, state, input);
	return choose(&lineup, input, sched_noise(input->load));
}

const struct sched_ops sched_spillover_ops = { .pick = spillover_pick, .peek = spillover_peek };
