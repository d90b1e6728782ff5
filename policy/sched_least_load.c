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

/* By how many FRACTIONs of a flow counts may be off */
static uint32_t noise(uint32_t unreported)
{
	return (uint32_t)square_root((uint64_t)unreported * FRACTION * FRACTION / 4);
}

static uint32_t unreported(const struct load *load)
{
	return atomic_load_explicit(&load->unreported, memory_order_relaxed);
}

/* a / b is a tie with the least load c / d where a - noise <= b c / d, that is where a d is at most
 * c b and this; what is not whole does not matter */
static uint64_t slack(uint32_t noise_now, uint32_t capacity)
{
	return (uint64_t)noise_now * capacity / FRACTION;
}

/* flows / capacity: the load of a link with the new flow on it */
struct quotient {
	uint64_t flows;
	uint32_t capacity;
};

/* ---- the definition ---- */

/* Links whose load cannot be told from the least one. Flows are those that were counted, by place in
 * the line-up: to count again would find others, and perhaps no least one. */
static uint64_t ties(const struct sched_lineup *lineup, const uint32_t *sending, uint32_t noise_now)
{
	struct quotient least = { UINT64_C(1) + sending[0], lineup->capacity[0] };
	uint64_t found = 0, more;

	for (unsigned j = 1; j < lineup->n; j++) {
		const struct quotient next = { UINT64_C(1) + sending[j], lineup->capacity[j] };

		if (next.flows * least.capacity < least.flows * next.capacity)
			least = next;
	}
	more = slack(noise_now, least.capacity);
	for (unsigned j = 0; j < lineup->n; j++) {
		const struct quotient next = { UINT64_C(1) + sending[j], lineup->capacity[j] };

		if (next.flows * least.capacity <= least.flows * next.capacity + more)
			found |= UINT64_C(1) << lineup->link[j];
	}
	return found;
}

/* ---- the same for each decision ----
 * No branch depends on a load: which link is the least loaded, and which ones are ties, cannot be
 * predicted. The least one is guessed by rounded numbers; if another has less, or a weight has
 * changed since its last turn, that shows while the turn is taken; it is taken back, and the
 * definition decides. */

/* Counts all, by place in the line-up, and returns the link that seems the least loaded; inline, as
 * `workers` is mostly one */
static inline struct quotient guess_least(const struct sched_lineup *lineup, const struct load *load, unsigned workers,
					  uint32_t *sending)
{
	const unsigned n = lineup->n;
	uint64_t least = UINT64_MAX;
	unsigned place;

	for (unsigned j = 0; j < n; j++) {
		const uint32_t now = load_sending_of(load, workers, lineup->link[j]);
		/* its place takes the low bits of a number that is a guess anyhow */
		const uint64_t guess = ((UINT64_C(1) + now) * lineup->inverse[j] | (CONFIG_MAX_LINKS - 1)) - j;

		sending[j] = now;
		least = guess < least ? guess : least;
	}
	place = ~least % CONFIG_MAX_LINKS;
	return (struct quotient){ UINT64_C(1) + sending[place], lineup->capacity[place] };
}

/* Bit j: the link at place j is a tie. 0: the guess was wrong. */
static uint64_t tied_places(const struct sched_lineup *lineup, const uint32_t *sending, struct quotient least,
			    uint64_t more)
{
	uint64_t found = 0, wrong = 0;

	for (unsigned j = lineup->n; j--;) {
		const uint64_t mine = (UINT64_C(1) + sending[j]) * least.capacity;
		const uint64_t theirs = least.flows * lineup->capacity[j];

		wrong |= mine - theirs; /* below 0: the highest bit */
		found = 2 * found + (mine <= theirs + more);
	}
	return wrong >> 63 ? 0 : found;
}

static uint32_t noise_kept(struct sched_state *state, const struct load *load)
{
	const uint32_t now = unreported(load);

	if (state->unreported != now) {
		state->unreported = now;
		state->noise = noise(now);
	}
	return state->noise;
}

/* The links at these places gain their capacity, and the richest pays for it: its link. Or a negative
 * number: nothing was done, as some weight has changed. */
static int take_turn(struct sched_wrr *row, const struct sched_lineup *lineup, uint64_t places)
{
	int64_t most = INT64_MIN, sum = 0;
	uint32_t changed = 0;

	for (uint64_t left = places; left; left &= left - 1) {
		const unsigned j = sched_lowest(left), i = lineup->link[j];
		const uint32_t capacity = lineup->capacity[j];
		const int64_t standing = sched_wrr_standing(sched_wrr_add(row, i, capacity), i);

		sum += capacity;
		changed |= sched_wrr_weight(row, i) ^ capacity;
		most = standing > most ? standing : most;
	}
	if (!changed)
		return (int)sched_wrr_pay(row, most, sum);
	for (uint64_t left = places; left; left &= left - 1) {
		const unsigned j = sched_lowest(left);

		sched_wrr_add(row, lineup->link[j], -(int64_t)lineup->capacity[j]);
	}
	return -1;
}

static unsigned by_definition(struct sched_wrr *row, const struct sched_lineup *lineup, const uint32_t *sending,
			      uint32_t noise_now)
{
	uint32_t capacity[CONFIG_MAX_LINKS];

	sched_lineup_spread(lineup, lineup->capacity, capacity);
	return sched_wrr_take(row, ties(lineup, sending, noise_now), capacity);
}

static unsigned least_load_pick(struct sched_state *state, const struct sched_input *input)
{
	const unsigned workers = input->load->workers;
	struct sched_wrr *row = &state->wrr[input->slot];
	uint32_t sending[CONFIG_MAX_LINKS], noise_now;
	const struct sched_lineup *lineup;
	struct quotient least;
	uint64_t places;
	int link;

	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	lineup = sched_lineup_get(state, input);
	if (workers == 1)
		least = guess_least(lineup, input->load, 1, sending);
	else
		least = guess_least(lineup, input->load, workers, sending);
	noise_now = noise_kept(state, input->load);
	places = tied_places(lineup, sending, least, slack(noise_now, least.capacity));
	link = places ? take_turn(row, lineup, places) : -1;
	return link < 0 ? by_definition(row, lineup, sending, noise_now) : (unsigned)link;
}

static unsigned least_load_peek(const struct sched_state *state, const struct sched_input *input,
				int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;
	uint32_t sending[CONFIG_MAX_LINKS], capacity[CONFIG_MAX_LINKS];
	int64_t credits[CONFIG_MAX_LINKS];

	sched_lineup_make(&lineup, input);
	for (unsigned j = 0; j < lineup.n; j++) {
		sending[j] = load_sending(input->load, lineup.link[j]);
		scores[lineup.link[j]] = -(int64_t)sending[j]; /* higher is nearer: shown are the flows, negative */
	}
	sched_lineup_spread(&lineup, lineup.capacity, capacity);
	return sched_wrr_look(&state->wrr[input->slot], ties(&lineup, sending, noise(unreported(input->load))),
			      capacity, credits);
}

const struct sched_ops sched_least_load_ops = { .pick = least_load_pick, .peek = least_load_peek };
