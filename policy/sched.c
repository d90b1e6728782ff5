/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched.c - the table of schedulers
 */
#include "policy/sched_private.h"

#include <assert.h>

static const struct sched_ops *const schedulers[] = {
	[SCHED_WRR] = &sched_wrr_ops,
	[SCHED_HASH] = &sched_hash_ops,
	[SCHED_LEAST_LOAD] = &sched_least_load_ops,
	[SCHED_SPILLOVER] = &sched_spillover_ops,
	[SCHED_LATENCY] = &sched_latency_ops,
};

static_assert(sizeof(schedulers) / sizeof(*schedulers) == SCHEDULERS, "every scheduler has its functions");

unsigned sched_pick(enum scheduler scheduler, struct sched_state *state, const struct sched_input *input)
{
	assert(input->candidates);
	return schedulers[scheduler]->pick(state, input);
}

unsigned sched_peek(enum scheduler scheduler, const struct sched_state *state, const struct sched_input *input,
		    int64_t scores[CONFIG_MAX_LINKS])
{
	assert(input->candidates);
	return schedulers[scheduler]->peek(state, input, scores);
}
