/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_least_load.c - join the shortest queue, by flows that are sending now
 *
 * Theory of operation. A link's load is (sending + 1) / effective capacity: what it
 * would be with the new flow on it. Effective capacity is weight times stated
 * capacity; a link that states none counts as an average one of those that do. Loads
 * are compared by cross-multiplication, in integers.
 *
 * The counts lag behind by the delay of events. With U departures that have happened
 * but are not reported, a count is off by about sqrt(U): a plain minimum would chase
 * that noise and be worse than round robin. Loads that differ by less than half of it
 * are ties, and go by smooth weighted round robin over the effective capacities.
 */
#include "policy/sched_private.h"

#define FRACTION 16 /* counts are compared in sixteenths of a flow */
/* A capacity in so many bits, times a 32-bit count in FRACTIONs, fits 64. What is lost is less
 * than one in a hundred thousand even of a link with a thousandth of the largest capacity. */
#define CAPACITY_MAX ((UINT32_C(1) << 27) - 1)

struct contest {
	uint32_t capacity[CONFIG_MAX_LINKS]; /* effective, scaled to at most CAPACITY_MAX */
	uint64_t flows[CONFIG_MAX_LINKS]; /* sending + 1, in FRACTIONs */
	unsigned best; /* the least loaded link, the first of several */
};

/* Bits up to the highest one that is set */
static unsigned bits_of(uint64_t n)
{
	return n ? 64 - (unsigned)__builtin_clzll(n) : 0;
}

/* Largest r with r * r <= n */
static uint64_t square_root(uint64_t n)
{
	uint64_t root = 0;

	for (uint64_t bit = n ? UINT64_C(1) << (bits_of(n) - 1) / 2 : 0; bit; bit >>= 1)
		root |= (root | bit) * (root | bit) <= n ? bit : 0;
	return root;
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

/* Effective capacities, where `mean` is what a link that states none counts for; returns their OR */
static uint64_t fill_effective(const struct sched_input *input, uint64_t mean, uint64_t *effective)
{
	uint64_t all = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const uint64_t stated = link_runtime_capacity(input->runtime, i);

		effective[i] = link_runtime_weight(input->runtime, i) * (stated ? stated : mean);
		all |= effective[i]; /* as many bits as the largest */
	}
	return all;
}

/* Effective capacities; returns by how many bits they exceed CAPACITY_MAX */
static unsigned effective_capacities(const struct sched_input *input, uint64_t *effective)
{
	const uint64_t all = fill_effective(input, mean_capacity(input), effective);

	return bits_of(all) > bits_of(CAPACITY_MAX) ? bits_of(all) - bits_of(CAPACITY_MAX) : 0;
}

/* No branch depends on a load here: which link is the least loaded cannot be predicted */
static void weigh(struct contest *contest, const struct sched_input *input)
{
	uint64_t effective[CONFIG_MAX_LINKS], best_flows = 1;
	const unsigned shift = effective_capacities(input, effective);
	uint32_t best_capacity = 0;
	unsigned best = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const uint64_t flows = FRACTION * (UINT64_C(1) + load_sending(input->load, i));
		/* nothing is so small beside the largest that it must never be used */
		const uint32_t capacity = effective[i] >> shift ? (uint32_t)(effective[i] >> shift) : 1;
		const bool less = flows * best_capacity < best_flows * capacity;

		contest->capacity[i] = capacity;
		contest->flows[i] = flows;
		best = less ? i : best;
		best_flows = less ? flows : best_flows;
		best_capacity = less ? capacity : best_capacity;
	}
	contest->best = best;
}

/* Links whose load cannot be told from the least one */
static uint64_t ties(const struct contest *contest, const struct sched_input *input)
{
	const uint64_t best_flows = contest->flows[contest->best];
	const uint32_t best_capacity = contest->capacity[contest->best];
	const uint64_t unreported = atomic_load_explicit(&input->load->unreported, memory_order_relaxed);
	const uint64_t noise = square_root(unreported * FRACTION * FRACTION / 4);
	uint64_t found = 0;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const uint64_t flows = contest->flows[i] > noise ? contest->flows[i] - noise : 0;

		found |= (uint64_t)(flows * best_capacity <= best_flows * contest->capacity[i]) << i;
	}
	return found;
}

static unsigned least_load_pick(struct sched_state *state, const struct sched_input *input)
{
	struct contest contest;

	weigh(&contest, input);
	return sched_wrr_take(state->wrr[input->slot], ties(&contest, input), contest.capacity);
}

static unsigned least_load_peek(const struct sched_state *state, const struct sched_input *input,
				int64_t scores[CONFIG_MAX_LINKS])
{
	struct contest contest;
	int64_t credits[CONFIG_MAX_LINKS];

	weigh(&contest, input);
	/* higher is nearer: shown are the flows, negative */
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = -(int64_t)load_sending(input->load, i);
	}
	return sched_wrr_look(state->wrr[input->slot], ties(&contest, input), contest.capacity, credits);
}

const struct sched_ops sched_least_load_ops = { .pick = least_load_pick, .peek = least_load_peek };
