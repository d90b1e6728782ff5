/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_turns.c - whose turn is it
 *
 * Theory of operation. Links are the leaves of a binary tree, in the order of their index. At
 * each node the two halves of its links take turns as in smooth weighted round robin of two: before a
 * turn each half gains its weight, the richer one has the turn and pays both weights. The winner's
 * node then chooses between its own halves, down to a link. So a turn takes one step for each
 * level, however many links there are. Kept is the difference of the two credits after both have gained: its
 * sign tells whose turn it is; of the same the left one's. (It is also how Bresenham's algorithm draws
 * a line, IBM Systems Journal 4, 1965: as evenly as integers allow.)
 *
 * While the weights stay, any W turns in a row of a node, W being the sum of its weights, give each
 * of its halves just its weight; so does every level below, and so has each link its weight.
 */
#include "policy/sched_private.h"

static int32_t clamp(int32_t value, int32_t least, int32_t most)
{
	return value < least ? least : value > most ? most : value;
}

static int32_t get(const _Atomic int32_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(_Atomic int32_t *to, int32_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

/* After a change of weights no credit is kept beyond what the new ones could have made: it would take
 * ages to pay back */
static void node_make(struct sched_turns *turns, unsigned at, int32_t left, int32_t right)
{
	/* the weights' own part of the lead, before and now: the halves have just gained their weights */
	const int32_t before = (get(&turns->after[2 * at]) + get(&turns->after[2 * at + 1])) / 2;
	const int32_t kept = get(&turns->lead[at]) - before;

	if (left && right) {
		set(&turns->lead[at], clamp(kept + left - right, -2 * right, 2 * left - 1));
		set(&turns->after[2 * at], -2 * right);
		set(&turns->after[2 * at + 1], 2 * left);
	} else { /* no choice */
		set(&turns->lead[at], left ? 0 : -1);
		set(&turns->after[2 * at], 0);
		set(&turns->after[2 * at + 1], 0);
	}
}

void sched_turns_make(struct sched_turns *turns, const uint32_t *weights)
{
	int32_t sum[2 * CONFIG_MAX_LINKS];

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		sum[CONFIG_MAX_LINKS + i] = (int32_t)weights[i];
	for (unsigned at = CONFIG_MAX_LINKS; --at;) {
		sum[at] = sum[2 * at] + sum[2 * at + 1];
		node_make(turns, at, sum[2 * at], sum[2 * at + 1]);
	}
}

/* What a half's turn costs it is what the other one gains: so a half is chosen as often as its weight says */
void sched_turns_draw(struct sched_turns *turns, uint32_t seed)
{
	for (unsigned at = 1; at < CONFIG_MAX_LINKS; at++) {
		const int32_t left = get(&turns->after[2 * at + 1]), right = -get(&turns->after[2 * at]);
		const uint64_t lot = sched_mix((uint64_t)seed * CONFIG_MAX_LINKS + at) >> 32;

		if (left)
			set(&turns->lead[at], (int32_t)(lot * (uint32_t)(left + right) >> 32) - right);
	}
}

/* Links below a node that is so many levels above them */
static uint64_t below(unsigned at, unsigned levels)
{
	return ((UINT64_C(1) << (1 << levels)) - 1) << ((at << levels) - CONFIG_MAX_LINKS);
}

unsigned sched_turns_take_among(struct sched_turns *turns, struct sched_span span, uint64_t links)
{
	unsigned at = span.root;

	for (unsigned levels = span.levels; levels--;) {
		const unsigned half = sched_turns_next(turns, at);
		const bool mine = (links & below(half, levels)) != 0, others = (links & below(half ^ 1, levels)) != 0;

		sched_turns_pay(turns, half, -(int32_t)(mine & others));
		at = half ^ !mine;
	}
	return at % CONFIG_MAX_LINKS;
}

void sched_turns_copy(struct sched_turns *to, const struct sched_turns *from)
{
	for (unsigned at = 0; at < CONFIG_MAX_LINKS; at++)
		set(&to->lead[at], get(&from->lead[at]));
	for (unsigned at = 0; at < 2 * CONFIG_MAX_LINKS; at++)
		set(&to->after[at], get(&from->after[at]));
}
