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

/* Largest r with r * r <= n */
static uint64_t square_root(uint64_t n)
{
	uint64_t root = 0;

	for (uint64_t bit = n ? UINT64_C(1) << (63 - __builtin_clzll(n)) / 2 : 0; bit; bit >>= 1)
		root |= (root | bit) * (root | bit) <= n ? bit : 0;
	return root;
}

/* By what counts may be off, times a capacity: a / b is a tie with the least load c / d where
 * a - noise <= b c / d, that is a d <= c b + noise d; and what is not whole does not matter */
static uint64_t slack(const struct load *load, uint32_t capacity)
{
	const uint64_t unreported = atomic_load_explicit(&load->unreported, memory_order_relaxed);

	return square_root(unreported * FRACTION * FRACTION / 4) * capacity / FRACTION;
}

/* flows / capacity: the load of a link with the new flow on it */
struct quotient {
	uint64_t flows;
	uint32_t capacity;
};

static struct quotient load_of(const uint32_t *capacity, const struct load *load, unsigned link)
{
	return (struct quotient){ UINT64_C(1) + load_sending(load, link), capacity[link] };
}

/* ---- the definition ---- */

/* Of these links, those whose load cannot be told from the least one */
static uint64_t ties(const uint32_t *capacity, const struct load *load, uint64_t among)
{
	struct quotient least = load_of(capacity, load, sched_lowest(among));
	uint64_t found = 0, more;

	for (uint64_t links = among; links; links &= links - 1) {
		const struct quotient next = load_of(capacity, load, sched_lowest(links));

		if (next.flows * least.capacity < least.flows * next.capacity)
			least = next;
	}
	more = slack(load, least.capacity);
	for (uint64_t links = among; links; links &= links - 1) {
		const struct quotient next = load_of(capacity, load, sched_lowest(links));

		if (next.flows * least.capacity <= least.flows * next.capacity + more)
			found |= links & -links;
	}
	return found;
}

/* ---- the same for each decision ----
 * No branch depends on a load: which link is the least loaded, and which ones are ties, cannot be
 * predicted. The least one is guessed by rounded numbers; that no other has less, and no weight has
 * changed, shows while the turn is taken. Else the turn is taken back, and done by the definition. */

struct contest {
	const struct sched_lineup *lineup;
	/* by place in the line-up */
	uint32_t sending[CONFIG_MAX_LINKS];
	uint32_t gain[CONFIG_MAX_LINKS]; /* of ties: the capacity; others: 0 */
	int64_t sum; /* of gains */
	uint64_t wrong; /* not 0: the guess was, or a weight has changed */
};

/* Counts all, and returns the link that seems the least loaded */
static struct quotient guess_least(struct contest *contest, const struct load *load)
{
	const struct sched_lineup *lineup = contest->lineup;
	const unsigned n = lineup->n, workers = load->workers;
	uint64_t least = UINT64_MAX;

	for (unsigned j = 0; j < n; j++) {
		const uint32_t sending = load_sending_of(load, workers, lineup->link[j]);
		/* its place takes the low bits of a number that is a guess anyhow */
		const uint64_t guess = ((UINT64_C(1) + sending) * lineup->inverse[j] | (CONFIG_MAX_LINKS - 1)) - j;

		contest->sending[j] = sending;
		least = guess < least ? guess : least;
	}
	least = ~least % CONFIG_MAX_LINKS;
	return (struct quotient){ UINT64_C(1) + contest->sending[least], lineup->capacity[least] };
}

static void find_ties(struct contest *contest, const struct load *load)
{
	const struct sched_lineup *lineup = contest->lineup;
	const struct quotient least = guess_least(contest, load);
	const uint64_t more = slack(load, least.capacity);
	const unsigned n = lineup->n;
	uint64_t wrong = 0;
	int64_t sum = 0;

	for (unsigned j = 0; j < n; j++) {
		const uint64_t mine = (UINT64_C(1) + contest->sending[j]) * least.capacity;
		const uint64_t theirs = least.flows * lineup->capacity[j];
		const uint32_t gain = lineup->capacity[j] & -(uint32_t)(mine <= theirs + more);

		wrong |= mine < theirs;
		contest->gain[j] = gain;
		sum += gain;
	}
	contest->sum = sum;
	contest->wrong = wrong;
}

static unsigned take_turn(struct sched_wrr *row, struct contest *contest)
{
	const struct sched_lineup *lineup = contest->lineup;
	const unsigned n = lineup->n;
	uint64_t wrong = contest->wrong;
	int64_t most = INT64_MIN;

	for (unsigned j = 0; j < n; j++) {
		const unsigned i = lineup->link[j];
		const uint32_t gain = contest->gain[j];
		const uint64_t takes = -(uint64_t)(gain != 0);
		const int64_t credit = sched_wrr_add(row, i, gain);
		const int64_t standing = sched_wrr_standing(credit, j) - (int64_t)(~takes >> 2);

		wrong |= (sched_wrr_weight(row, i) ^ gain) & takes;
		most = standing > most ? standing : most;
	}
	contest->wrong = wrong;
	return lineup->link[sched_wrr_place(most)];
}

static unsigned by_definition(struct sched_wrr *row, const struct sched_lineup *lineup, const struct sched_input *input)
{
	uint32_t capacity[CONFIG_MAX_LINKS];

	sched_lineup_capacities(lineup, capacity);
	return sched_wrr_take(row, ties(capacity, input->load, input->candidates), capacity);
}

static unsigned least_load_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_wrr *row = &state->wrr[input->slot];
	struct contest contest;
	unsigned best;

	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	contest.lineup = sched_lineup_get(state, input);
	find_ties(&contest, input->load);
	best = take_turn(row, &contest);
	if (!contest.wrong) {
		sched_wrr_add(row, best, -contest.sum);
		return best;
	}
	for (unsigned j = 0; j < contest.lineup->n; j++)
		sched_wrr_add(row, contest.lineup->link[j], -(int64_t)contest.gain[j]);
	return by_definition(row, contest.lineup, input);
}

static unsigned least_load_peek(const struct sched_state *state, const struct sched_input *input,
				int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;
	uint32_t capacity[CONFIG_MAX_LINKS];
	int64_t credits[CONFIG_MAX_LINKS];

	sched_lineup_make(&lineup, input);
	sched_lineup_capacities(&lineup, capacity);
	/* higher is nearer: shown are the flows, negative */
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = -(int64_t)load_sending(input->load, i);
	}
	return sched_wrr_look(&state->wrr[input->slot], ties(capacity, input->load, input->candidates), capacity,
			      credits);
}

const struct sched_ops sched_least_load_ops = { .pick = least_load_pick, .peek = least_load_peek };
