/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_private.h - between sched.c and the schedulers
 */
#ifndef POLICY_SCHED_PRIVATE_H
#define POLICY_SCHED_PRIVATE_H

#include <string.h>

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

/* for (links = candidates; links; links &= links - 1) visits each; this is the one at hand */
static inline unsigned sched_lowest(uint64_t links)
{
	return (unsigned)__builtin_ctzll(links);
}

/* The finalizer of splitmix64 (Steele, Lea & Flood 2014): every input bit moves every output bit */
static inline uint64_t sched_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* ---- line-ups ---- */

/* The line-up of the candidates, kept in `state`; or made anew */
struct sched_lineup *sched_lineup_get(struct sched_state *state, const struct sched_input *input);

/* The same, as sched_lineup_get() would return it, in `lineup`: for a look */
void sched_lineup_copy(struct sched_lineup *lineup, const struct sched_state *state, const struct sched_input *input);

/* ---- turns ---- */

/* Weights in a tree sum up to this at most; so twice their sum fits an int32_t */
#define SCHED_TURNS_MAX (INT32_C(1) << 29)

/* By link index; 0 for those that take no turns. Credits are kept, as far as these weights could have made them. */
void sched_turns_make(struct sched_turns *turns, const uint32_t *weights);

/* Forget the credits: whose turn is next is drawn, by weight, from the seed */
void sched_turns_draw(struct sched_turns *turns, uint32_t seed);

void sched_turns_copy(struct sched_turns *to, const struct sched_turns *from);

/* The half of this node whose turn it is, as its own node */
static inline unsigned sched_turns_next(const struct sched_turns *turns, unsigned at)
{
	const int32_t lead = atomic_load_explicit(&turns->lead[at], memory_order_relaxed);

	return 2 * at + ((uint32_t)lead >> 31);
}

/* That half takes its turn; `mask` 0: it does not. One writer: nothing has to be locked. */
static inline void sched_turns_pay(struct sched_turns *turns, unsigned half, int32_t mask)
{
	const int32_t lead = atomic_load_explicit(&turns->lead[half / 2], memory_order_relaxed);
	const int32_t after = atomic_load_explicit(&turns->after[half], memory_order_relaxed);

	atomic_store_explicit(&turns->lead[half / 2], lead + (after & mask), memory_order_relaxed);
}

/* The link whose turn it is; the next call returns the next one */
static inline unsigned sched_turns_take(struct sched_turns *turns, struct sched_span span)
{
	unsigned at = span.root;

	while (span.levels--) {
		at = sched_turns_next(turns, at);
		sched_turns_pay(turns, at, -1);
	}
	return at % CONFIG_MAX_LINKS;
}

/* The same among some of the links: a half without any is passed by, and keeps its turn */
unsigned sched_turns_take_among(struct sched_turns *turns, struct sched_span span, uint64_t links);

/* ---- counts ---- */

/* Effective capacities by link index, scaled */
void sched_counts_init(struct sched_counts *counts, uint64_t candidates, const uint32_t *capacities);

/* A load, not negative, as an integer of the same order; with its last bits for the link */
#define SCHED_LOAD_LINK ((uint64_t)CONFIG_MAX_LINKS - 1)
#define SCHED_LOAD_FULL (UINT64_C(1) << 63)

static inline uint64_t sched_load_bits(double load)
{
	uint64_t bits;

	memcpy(&bits, &load, sizeof(bits));
	return bits & ~SCHED_LOAD_LINK;
}

static inline double sched_load_value(uint64_t bits)
{
	double load;

	bits &= ~(SCHED_LOAD_LINK | SCHED_LOAD_FULL);
	memcpy(&load, &bits, sizeof(load));
	return load;
}

/* Bring what a line-up knows of flows to what input->load says now */
void sched_counts_follow(struct sched_lineup *lineup, const struct sched_input *input);

/* ---- room ---- */

/* Who has room up to how many flows, and in which order, as the last samples say. Before
 * sched_counts_follow(), which looks at all links again when they are new. */
void sched_room_learn(struct sched_lineup *lineup, const struct sched_input *input);

/* Has this candidate room with so many flows, the new one among them? */
bool sched_room_update(struct sched_room *room, unsigned link, uint32_t flows);

/* ---- least-load ---- */

/* By how many flows counts may be off; the same, kept in `state` */
double sched_noise(const struct load *load);
double sched_noise_kept(struct sched_state *state, const struct load *load);

/* The least loaded candidate, or a tie, in a line-up that has followed; where room counts, only if there is
 * none, one without */
unsigned sched_least_loaded(struct sched_lineup *lineup, const struct sched_input *input, double noise);

/* The same among a few of the candidates: all of these are looked at */
unsigned sched_least_loaded_of(struct sched_lineup *lineup, const struct sched_input *input, uint64_t links,
			       double noise);

#endif
