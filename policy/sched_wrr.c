/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_wrr.c - smooth weighted round robin: turns by weight (sched_turns.c)
 */
#include "policy/sched_private.h"

#define TURNS_AHEAD 256 /* so far a look goes */

static unsigned wrr_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_lineup *lineup;

	/* a turn with one candidate chooses nothing, and changes nothing */
	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	lineup = sched_lineup_get(state, input);
	return sched_turns_take(&lineup->by_weight, lineup->span);
}

/* Scores: how many turns are before the link's own, negative */
static unsigned wrr_peek(const struct sched_state *state, const struct sched_input *input,
			 int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;
	uint64_t later = input->candidates;
	unsigned next = sched_lowest(later);

	sched_lineup_copy(&lineup, state, input);
	for (uint64_t links = later; links; links &= links - 1)
		scores[sched_lowest(links)] = -TURNS_AHEAD;
	for (int turn = 0; turn < TURNS_AHEAD && later; turn++) {
		const unsigned link = sched_turns_take(&lineup.by_weight, lineup.span);

		if (!turn)
			next = link;
		if (later >> link & 1)
			scores[link] = -turn;
		later &= ~(UINT64_C(1) << link);
	}
	return next;
}

const struct sched_ops sched_wrr_ops = { .pick = wrr_pick, .peek = wrr_peek };
