/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_private.h - between sched.c and the schedulers
 */
#ifndef POLICY_SCHED_PRIVATE_H
#define POLICY_SCHED_PRIVATE_H

#include "policy/sched.h"

struct sched_ops {
	unsigned (*pick)(struct sched_state *state, const struct sched_input *input);
	unsigned (*peek)(const struct sched_state *state, const struct sched_input *input,
			 int64_t scores[CONFIG_MAX_LINKS]);
};

extern const struct sched_ops sched_wrr_ops;
extern const struct sched_ops sched_hash_ops;
extern const struct sched_ops sched_least_load_ops;
extern const struct sched_ops sched_spillover_ops;
extern const struct sched_ops sched_latency_ops;

/* One smooth round robin turn among `candidates` with these weights (by link index), for
 * schedulers that break ties by it; look() leaves the row as it is and fills `scores` */
unsigned sched_wrr_take(struct sched_wrr *row, uint64_t candidates, const uint32_t *weights);
unsigned sched_wrr_look(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t *scores);

/* Candidates whose traffic is below the group's share of their capacity (sched_spillover.c) */
uint64_t sched_with_room(const struct sched_input *input);

/* for (links = candidates; links; links &= links - 1) visits each; this is the one at hand */
static inline unsigned sched_lowest(uint64_t links)
{
	return (unsigned)__builtin_ctzll(links);
}

#endif
