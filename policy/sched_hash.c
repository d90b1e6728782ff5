/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_hash.c - weighted rendezvous hashing
 *
 * Theory of operation. Flow and link id give a uniform number u in (0, 1]; the link
 * with the smallest -log(u) / weight wins. -log(u) / weight is exponentially
 * distributed with rate `weight`, so a link wins with probability weight / sum;
 * and since a link's number depends on nothing but flow and id, a changed
 * weight or a new link moves flows to or from that link alone. Integers throughout:
 * the same flow takes the same link on every machine.
 *
 * All links have to be asked for that. So flows fall into 65,536 buckets, which are what is
 * hashed, and each worker remembers the answer for a bucket as long as candidates and weights stay. Shares are
 * as exact as they are for as many clients: 0.2 % of all for one of two equal links.
 */
#include "policy/sched_private.h"

#include <assert.h>

/* Fraction bits of minus_log2(). Its error, some 2^-29, is a thousandth of the smallest
 * share that weights can ask for; and cost times weight stays within 64 bits. */
#define LOG_BITS 30

static_assert(CONFIG_MAX_WEIGHT < UINT64_MAX / (UINT64_C(65) << LOG_BITS), "cost times weight fits");

/* -log2(u / 2^64) with LOG_BITS fraction bits, never 0; u is not 0. Digit by digit:
 * squaring a number in [1, 2) doubles its logarithm. */
static uint64_t minus_log2(uint64_t u)
{
	const unsigned zeros = (unsigned)__builtin_clzll(u);
	uint64_t mantissa = u << zeros >> 32; /* in [1, 2), 31 fraction bits */
	uint64_t fraction = 0;

	for (unsigned i = 0; i < LOG_BITS; i++) {
		const uint64_t square = mantissa * mantissa; /* in [1, 4), 62 fraction bits */
		const unsigned carry = (unsigned)(square >> 63);

		fraction = fraction << 1 | carry;
		mantissa = square >> (31 + carry);
	}
	return ((uint64_t)zeros + 1) * (UINT64_C(1) << LOG_BITS) - fraction;
}

/* minus_log2(u), give or take ESTIMATE_ERROR: log2(1 + f) is nearly f + 0.34 f (1 - f). The
 * worst seen is 0.0081; the rest is room. */
#define ESTIMATE_ERROR ((UINT64_C(1) << LOG_BITS) / 100)

static uint64_t estimate(uint64_t u)
{
	const uint64_t one = UINT64_C(1) << LOG_BITS;
	const unsigned zeros = (unsigned)__builtin_clzll(u);
	const uint64_t f = (u << zeros >> (63 - LOG_BITS)) - one;

	return (zeros + 1) * one - f - (f * (one - f) >> LOG_BITS) * 352 / 1024;
}

static unsigned bucket_of(const struct sched_input *input)
{
	return (unsigned)(input->hash / (UINT64_MAX / SCHED_BUCKETS + 1));
}

/* The link's number for this flow's bucket, not 0 */
static uint64_t draw(const struct sched_input *input, unsigned link)
{
	return sched_mix(bucket_of(input) ^ sched_mix(input->runtime->id[link])) | 1;
}

struct contender {
	unsigned link;
	uint64_t cost;
	uint32_t weight;
};

/* a.cost / a.weight < b.cost / b.weight, without dividing */
static bool nearer(const struct contender *a, const struct contender *b)
{
	return a->cost * b->weight < b->cost * a->weight;
}

/* Candidates that may be the nearest, by estimates: mostly one. Those left out are farther
 * than the best one at its worst, even at their best; so the choice is what it would be. */
static uint64_t likely(const struct sched_input *input)
{
	struct contender farthest[CONFIG_MAX_LINKS], best = { .link = CONFIG_MAX_LINKS };
	uint64_t found = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		farthest[i] = (struct contender){
			.link = i,
			.cost = estimate(draw(input, i)) + ESTIMATE_ERROR,
			.weight = link_runtime_weight(input->runtime, i),
		};
		if (best.link == CONFIG_MAX_LINKS || nearer(&farthest[i], &best))
			best = farthest[i];
	}
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		struct contender nearest = farthest[i];

		nearest.cost -= nearest.cost > 2 * ESTIMATE_ERROR ? 2 * ESTIMATE_ERROR : nearest.cost;
		found |= (uint64_t)!nearer(&best, &nearest) << i;
	}
	return found;
}

/* `scores` may be NULL */
static unsigned choose(const struct sched_input *input, uint64_t candidates, int64_t *scores)
{
	struct contender best = { .link = CONFIG_MAX_LINKS };

	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const struct contender next = {
			.link = i,
			.cost = minus_log2(draw(input, i)),
			.weight = link_runtime_weight(input->runtime, i),
		};

		if (scores)
			scores[i] = next.weight ? -(int64_t)(next.cost / next.weight) : INT64_MIN;
		if (best.link == CONFIG_MAX_LINKS || nearer(&next, &best))
			best = next;
	}
	return best.link;
}

static unsigned ask_all(const struct sched_input *input)
{
	const uint64_t found = likely(input);

	return found & (found - 1) ? choose(input, found, NULL) : sched_lowest(found);
}

/* Where the bucket's answer is kept: groups share the memory, each in an order of its own */
static uint32_t *place_of(struct sched_state *state, uint32_t stamp, unsigned bucket)
{
	return &state->bucket[bucket ^ stamp * 40503 % SCHED_BUCKETS];
}

static unsigned hash_pick(struct sched_state *state, const struct sched_input *input)
{
	uint32_t stamp, *place;

	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	stamp = sched_lineup_get(state, input)->stamp;
	place = place_of(state, stamp, bucket_of(input));
	if (*place / CONFIG_MAX_LINKS != stamp)
		*place = stamp * CONFIG_MAX_LINKS + ask_all(input);
	return *place % CONFIG_MAX_LINKS;
}

static unsigned hash_peek(const struct sched_state *state, const struct sched_input *input,
			  int64_t scores[CONFIG_MAX_LINKS])
{
	(void)state;
	return choose(input, input->candidates, scores);
}

const struct sched_ops sched_hash_ops = { .pick = hash_pick, .peek = hash_peek };
