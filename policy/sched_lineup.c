/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_lineup.c - what schedulers know of a set of candidates before a flow comes
 *
 * Theory of operation. Which links may be chosen, their weights and effective capacities
 * change seldom; decisions are many. So each worker keeps for each group what follows from them,
 * as long as the candidates and the generation of the runtime values stay. The generation is read before
 * the values: a value that changes meanwhile brings another generation, and the next decision
 * looks again. Turns belong to a set of candidates, so that IPv6, which may have fewer links, does
 * not bend the split of IPv4. Where there are more sets than are kept, one that replaces another draws lots for its
 * first turn: if all began with the same link, or went on with credits of other links, some would never have one.
 */
#include <assert.h>

#include "policy/sched_private.h"

#define TURN_BITS 23 /* a tree of so large weights sums up to SCHED_TURNS_MAX */
/* What is lost is less than one in a hundred thousand even of a link with a thousandth of the largest */
#define CAPACITY_BITS 27

static_assert(CONFIG_MAX_LINKS << TURN_BITS <= SCHED_TURNS_MAX, "capacities fit a tree of turns");
static_assert(CONFIG_MAX_WEIGHT < SCHED_TURNS_MAX / CONFIG_MAX_LINKS, "weights fit a tree of turns");

static unsigned bits_of(uint64_t n)
{
	return n ? 64 - (unsigned)__builtin_clzll(n) : 0;
}

/* Mean of what the candidates state, which is what others count for */
static uint64_t mean_capacity(const struct sched_input *input)
{
	uint64_t sum = 0, n = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const uint32_t stated = link_runtime_capacity(input->runtime, sched_lowest(links));

		sum += stated;
		n += stated != 0;
	}
	return n ? sum / n : 1;
}

/* Values of the candidates by link index, cut to so many bits; 0 for other links */
static void scale(uint64_t candidates, const uint64_t *values, unsigned bits, uint32_t *scaled)
{
	uint64_t all = 0; /* as many bits as the largest */
	unsigned shift;

	for (uint64_t links = candidates; links; links &= links - 1)
		all |= values[sched_lowest(links)];
	shift = bits_of(all) > bits ? bits_of(all) - bits : 0;
	memset(scaled, 0, CONFIG_MAX_LINKS * sizeof(*scaled));
	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		/* nothing is so small beside the largest that it must never be used */
		scaled[i] = values[i] >> shift ? (uint32_t)(values[i] >> shift) : 1;
	}
}

static struct sched_span span_of(uint64_t candidates)
{
	const unsigned low = sched_lowest(candidates), high = 63 - (unsigned)__builtin_clzll(candidates);
	const unsigned levels = bits_of(low ^ high);

	return (struct sched_span){ .root = (CONFIG_MAX_LINKS + low) >> levels, .levels = levels };
}

/* `seed` for a set of candidates that replaces another one in this memory */
static void make(struct sched_lineup *lineup, const struct sched_input *input, uint32_t seed)
{
	const uint64_t before = atomic_load_explicit(&lineup->candidates, memory_order_relaxed);
	uint64_t effective[CONFIG_MAX_LINKS];
	uint32_t values[CONFIG_MAX_LINKS] = { 0 };
	uint64_t mean;

	lineup->generation = link_runtime_generation(input->runtime);
	lineup->span = span_of(input->candidates);
	mean = mean_capacity(input);
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const uint64_t stated = link_runtime_capacity(input->runtime, i);

		values[i] = link_runtime_weight(input->runtime, i);
		effective[i] = values[i] * (stated ? stated : mean);
	}
	sched_turns_make(&lineup->by_weight, values);
	scale(input->candidates, effective, TURN_BITS, values);
	sched_turns_make(&lineup->by_capacity, values);
	if (before && before != input->candidates) {
		sched_turns_draw(&lineup->by_weight, seed);
		sched_turns_draw(&lineup->by_capacity, seed);
	}
	scale(input->candidates, effective, CAPACITY_BITS, values);
	sched_counts_init(&lineup->counts, input->candidates, values);
	lineup->room.group = NULL;
	atomic_store_explicit(&lineup->candidates, input->candidates, memory_order_relaxed);
}

static uint32_t stamps_of(const struct sched_state *state)
{
	return atomic_load_explicit(&state->stamps, memory_order_relaxed);
}

/* Once stamps start again: neither buckets nor line-ups may keep an old one */
static void forget_stamps(struct sched_state *state)
{
	memset(state->bucket, 0, sizeof(state->bucket));
	for (unsigned slot = 0; slot <= CONFIG_MAX_GROUPS; slot++) {
		for (unsigned i = 0; i < SCHED_LINEUPS; i++) {
			struct sched_lineup *lineup = &state->group[slot].lineup[i];

			/* memory that was never used stays so */
			if (atomic_load_explicit(&lineup->candidates, memory_order_relaxed))
				lineup->generation--; /* fits no more, and is made anew */
		}
	}
}

/* Stamps tell line-ups apart in the buckets of hash */
static uint32_t next_stamp(struct sched_state *state)
{
	uint32_t stamp = (stamps_of(state) + 1) % SCHED_STAMPS;

	if (!stamp) {
		forget_stamps(state);
		stamp = 1;
	}
	atomic_store_explicit(&state->stamps, stamp, memory_order_relaxed);
	return stamp;
}

/* Where the line-up of these candidates is; SCHED_LINEUPS: nowhere */
static unsigned place_of(const struct sched_group *group, uint64_t candidates)
{
	for (unsigned i = 0; i < SCHED_LINEUPS; i++) {
		if (atomic_load_explicit(&group->lineup[i].candidates, memory_order_relaxed) == candidates)
			return i;
	}
	return SCHED_LINEUPS;
}

static bool fits(const struct sched_lineup *lineup, const struct sched_input *input)
{
	return atomic_load_explicit(&lineup->candidates, memory_order_relaxed) == input->candidates &&
	       lineup->generation == link_runtime_generation(input->runtime);
}

struct sched_lineup *sched_lineup_get(struct sched_state *state, const struct sched_input *input)
{
	struct sched_group *group = &state->group[input->slot];
	struct sched_lineup *lineup = &group->lineup[group->last];
	unsigned place;

	if (fits(lineup, input))
		return lineup;
	place = place_of(group, input->candidates);
	if (place == SCHED_LINEUPS) {
		place = atomic_load_explicit(&group->next, memory_order_relaxed);
		atomic_store_explicit(&group->next, (place + 1) % SCHED_LINEUPS, memory_order_relaxed);
	}
	group->last = place;
	lineup = &group->lineup[place];
	if (!fits(lineup, input)) {
		make(lineup, input, stamps_of(state));
		lineup->stamp = next_stamp(state);
	}
	return lineup;
}

void sched_lineup_copy(struct sched_lineup *lineup, const struct sched_state *state, const struct sched_input *input)
{
	const struct sched_group *group = &state->group[input->slot];
	unsigned place = place_of(group, input->candidates);

	if (place == SCHED_LINEUPS)
		place = atomic_load_explicit(&group->next, memory_order_relaxed);
	atomic_init(&lineup->candidates, atomic_load_explicit(&group->lineup[place].candidates, memory_order_relaxed));
	sched_turns_copy(&lineup->by_weight, &group->lineup[place].by_weight);
	sched_turns_copy(&lineup->by_capacity, &group->lineup[place].by_capacity);
	make(lineup, input, stamps_of(state));
}
