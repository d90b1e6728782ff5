/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_lineup.c - what schedulers know of a set of candidates before a flow comes
 *
 * Theory of operation. Which links may be chosen, their weights and effective capacities
 * change seldom; decisions are many. So each worker keeps them for each group, as long as the
 * candidates and the generation of the runtime values stay. The generation is read before
 * the values: a value that changes meanwhile brings another generation, and the next decision
 * looks again. Nothing here is shared: `explain` makes a line-up of its own.
 */
#include "policy/sched_private.h"

/* A capacity in so many bits, times a 32-bit count in sixteenths, fits 64. What is lost is less
 * than one in a hundred thousand even of a link with a thousandth of the largest capacity. */
#define CAPACITY_BITS 27

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

static void fill_capacities(struct sched_lineup *lineup, const struct sched_input *input)
{
	const uint64_t mean = mean_capacity(input);
	uint64_t effective[CONFIG_MAX_LINKS], all = 0;
	unsigned shift;

	for (unsigned j = 0; j < lineup->n; j++) {
		const uint64_t stated = link_runtime_capacity(input->runtime, lineup->link[j]);

		effective[j] = lineup->weight[j] * (stated ? stated : mean);
		all |= effective[j]; /* as many bits as the largest */
	}
	shift = bits_of(all) > CAPACITY_BITS ? bits_of(all) - CAPACITY_BITS : 0;
	for (unsigned j = 0; j < lineup->n; j++) {
		/* nothing is so small beside the largest that it must never be used */
		lineup->capacity[j] = effective[j] >> shift ? (uint32_t)(effective[j] >> shift) : 1;
	}
}

static void fill_inverses(struct sched_lineup *lineup)
{
	uint32_t least = UINT32_MAX;

	for (unsigned j = 0; j < lineup->n; j++) {
		const uint32_t capacity = lineup->capacity[j];

		least = capacity < least ? capacity : least;
	}
	for (unsigned j = 0; j < lineup->n; j++)
		lineup->inverse[j] = (uint32_t)((uint64_t)UINT32_MAX * least / lineup->capacity[j]);
}

void sched_lineup_make(struct sched_lineup *lineup, const struct sched_input *input)
{
	lineup->generation = link_runtime_generation(input->runtime);
	lineup->candidates = input->candidates;
	lineup->n = 0;
	lineup->sum = 0;
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		lineup->weight[lineup->n] = link_runtime_weight(input->runtime, i);
		lineup->sum += lineup->weight[lineup->n];
		lineup->link[lineup->n++] = (uint8_t)i;
	}
	fill_capacities(lineup, input);
	fill_inverses(lineup);
}

void sched_lineup_spread(const struct sched_lineup *lineup, const uint32_t *by_place, uint32_t *by_link)
{
	for (unsigned j = 0; j < lineup->n; j++)
		by_link[lineup->link[j]] = by_place[j];
}

static bool fits(const struct sched_lineup *lineup, const struct sched_input *input)
{
	return lineup->candidates == input->candidates && lineup->generation == link_runtime_generation(input->runtime);
}

static void renew(struct sched_state *state, struct sched_lineup *lineup, const struct sched_input *input)
{
	sched_lineup_make(lineup, input);
	lineup->stamp = ++state->stamps;
}

const struct sched_lineup *sched_lineup_get(struct sched_state *state, const struct sched_input *input)
{
	struct sched_lineups *lineups = &state->lineups[input->slot];

	if (!fits(&lineups->lineup[lineups->last], input)) {
		lineups->last ^= 1;
		if (!fits(&lineups->lineup[lineups->last], input))
			renew(state, &lineups->lineup[lineups->last], input);
	}
	return &lineups->lineup[lineups->last];
}
