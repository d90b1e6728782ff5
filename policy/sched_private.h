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

/* The line-up of the candidates, kept in `state`; or made anew */
const struct sched_lineup *sched_lineup_get(struct sched_state *state, const struct sched_input *input);
void sched_lineup_make(struct sched_lineup *lineup, const struct sched_input *input);
/* Values by place, to values by link index; those of other links are left as they are */
void sched_lineup_spread(const struct sched_lineup *lineup, const uint32_t *by_place, uint32_t *by_link);

/* One smooth round robin turn among `candidates` with these weights (by link index), for
 * schedulers that break ties by it; look() leaves the row as it is and fills `scores` */
unsigned sched_wrr_take(struct sched_wrr *row, uint64_t candidates, const uint32_t *weights);
unsigned sched_wrr_look(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t *scores);

static inline int64_t sched_wrr_credit(const struct sched_wrr *row, unsigned link)
{
	return atomic_load_explicit(&row->credit[link], memory_order_relaxed);
}

static inline uint32_t sched_wrr_weight(const struct sched_wrr *row, unsigned link)
{
	return atomic_load_explicit(&row->weight[link], memory_order_relaxed);
}

/* One writer: a plain add, published without a locked instruction. Returns the new credit. */
static inline int64_t sched_wrr_add(struct sched_wrr *row, unsigned link, int64_t gain)
{
	const int64_t credit = sched_wrr_credit(row, link) + gain;

	atomic_store_explicit(&row->credit[link], credit, memory_order_relaxed);
	return credit;
}

/* A credit and its link as one number: more credit is more, and of the same the lowest index.
 * Credits are sums of less than 2^34 each, so there are bits to spare. */
static inline int64_t sched_wrr_standing(int64_t credit, unsigned link)
{
	return credit * CONFIG_MAX_LINKS - link;
}

/* Who stands like this has its turn, and pays the sum of what all have gained */
static inline unsigned sched_wrr_pay(struct sched_wrr *row, int64_t standing, int64_t sum)
{
	const unsigned link = -(uint64_t)standing % CONFIG_MAX_LINKS;

	atomic_store_explicit(&row->credit[link], (standing + link) / CONFIG_MAX_LINKS - sum, memory_order_relaxed);
	return link;
}

/* Candidates whose traffic is below the group's share of their capacity (sched_spillover.c) */
uint64_t sched_with_room(const struct sched_input *input);

/* for (links = candidates; links; links &= links - 1) visits each; this is the one at hand */
static inline unsigned sched_lowest(uint64_t links)
{
	return (unsigned)__builtin_ctzll(links);
}

#endif
