/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_least_load.c - join the shortest queue, by flows that are sending now
 *
 * Theory of operation. A link's load is (sending + 1) / effective capacity: what it
 * would be with the new flow on it. Effective capacity is weight times stated
 * capacity; a link that states none counts as an average one of those that do.
 *
 * The counts lag behind by the delay of events. With U departures that have happened
 * but are not reported, a count is off by about sqrt(U): a plain minimum would chase
 * that noise and be worse than round robin. So a link whose load is not above what the least
 * loaded one would have with half of that more flows is a tie with it, and ties take turns by
 * effective capacity (sched_turns.c). With no fresh knowledge at all, that is round robin.
 *
 * Both trees have the same shape, so one walk does: a half of the links without a tie is passed by, and
 * its turn is kept; where both halves have ties, it is taken.
 */
#include "policy/sched_private.h"

/* Largest r with r * r <= n */
static uint64_t square_root(uint64_t n)
{
	uint64_t root = 0;

	for (uint64_t bit = n ? UINT64_C(1) << (63 - __builtin_clzll(n)) / 2 : 0; bit; bit >>= 1)
		root |= (root | bit) * (root | bit) <= n ? bit : 0;
	return root;
}

/* By how many flows counts may be off, to a sixteenth */
static double noise(uint32_t unreported)
{
	return (double)square_root((uint64_t)unreported * 16 * 16 / 4) / 16;
}

static uint32_t unreported(const struct load *load)
{
	return atomic_load_explicit(&load->unreported, memory_order_relaxed);
}

double sched_noise(const struct load *load)
{
	return noise(unreported(load));
}

double sched_noise_kept(struct sched_state *state, const struct load *load)
{
	const uint32_t now = unreported(load);

	if (state->unreported != now) {
		state->unreported = now;
		state->noise = noise(now);
	}
	return state->noise;
}

static void set_margins(struct sched_counts *counts, uint64_t candidates, double noise_now)
{
	counts->noise = noise_now;
	for (uint64_t links = candidates; links; links &= links - 1)
		counts->margin[sched_lowest(links)] = noise_now / counts->capacity[sched_lowest(links)];
}

/* The highest load that is a tie with this one, the least. Rounding must not part what is just as high, so
 * it is one more in the bits that loads have; and all in those of the link. */
static uint64_t limit_of(const struct sched_counts *counts, uint64_t least)
{
	const double most = sched_load_value(least) + counts->margin[least & SCHED_LOAD_LINK];

	return (sched_load_bits(most) + CONFIG_MAX_LINKS) | SCHED_LOAD_LINK | (least & SCHED_LOAD_FULL);
}

/* No branch depends on a load or a turn, as nobody can predict them */
unsigned sched_least_loaded(struct sched_lineup *lineup, const struct sched_input *input, double noise_now)
{
	struct sched_counts *counts = &lineup->counts;
	unsigned at = lineup->span.root;
	uint64_t limit;

	if (counts->noise != noise_now)
		set_margins(counts, input->candidates, noise_now);
	limit = limit_of(counts, counts->load[at]);
	for (unsigned levels = lineup->span.levels; levels; levels--) {
		const unsigned half = sched_turns_next(&lineup->by_capacity, at);
		const bool mine = counts->load[half] <= limit, others = counts->load[half ^ 1] <= limit;

		sched_turns_pay(&lineup->by_capacity, half, -(int32_t)(mine & others));
		at = half ^ !mine;
	}
	return at % CONFIG_MAX_LINKS;
}

unsigned sched_least_loaded_of(struct sched_lineup *lineup, const struct sched_input *input, uint64_t links,
			       double noise_now)
{
	struct sched_counts *counts = &lineup->counts;
	uint64_t least = UINT64_MAX, limit, ties = 0;

	if (counts->noise != noise_now)
		set_margins(counts, input->candidates, noise_now);
	for (uint64_t left = links; left; left &= left - 1) {
		const uint64_t load = counts->load[CONFIG_MAX_LINKS + sched_lowest(left)];

		least = load < least ? load : least;
	}
	limit = limit_of(counts, least);
	for (uint64_t left = links; left; left &= left - 1) {
		const unsigned link = sched_lowest(left);

		ties |= (uint64_t)(counts->load[CONFIG_MAX_LINKS + link] <= limit) << link;
	}
	return sched_turns_take_among(&lineup->by_capacity, lineup->span, ties);
}

/* Room has no meaning here; the line-up may be one that another scheduler has used */
static void follow(struct sched_lineup *lineup, const struct sched_input *input)
{
	if (lineup->room.group) {
		lineup->room.group = NULL;
		lineup->counts.known = false;
	}
	sched_counts_follow(lineup, input);
}

static unsigned least_load_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_lineup *lineup;

	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	lineup = sched_lineup_get(state, input);
	follow(lineup, input);
	return sched_least_loaded(lineup, input, sched_noise_kept(state, input->load));
}

/* Scores: the flows, negative */
static unsigned least_load_peek(const struct sched_state *state, const struct sched_input *input,
				int64_t scores[CONFIG_MAX_LINKS])
{
	struct sched_lineup lineup;

	sched_lineup_copy(&lineup, state, input);
	follow(&lineup, input);
	for (uint64_t links = input->candidates; links; links &= links - 1)
		scores[sched_lowest(links)] = -(int64_t)load_sending(input->load, sched_lowest(links));
	return sched_least_loaded(&lineup, input, sched_noise(input->load));
}

const struct sched_ops sched_least_load_ops = { .pick = least_load_pick, .peek = least_load_peek };
