/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_wrr.c - smooth weighted round robin
 *
 * Theory of operation. While weights and candidates stay, the credits of a row sum
 * to zero and each stays within the sum of the weights, so over any W turns (W: that
 * sum, divided by the weights' common divisor) each link is picked exactly in
 * proportion. A weight changed from large to small would leave a credit that
 * takes ages to pay back at the new weights; so when a turn finds a
 * changed weight, the row's credits are cut to what the new weights could have
 * made. A turn with one candidate chooses nothing, and changes nothing.
 */
#include "policy/sched_private.h"

static int64_t clamp(int64_t value, int64_t bound)
{
	if (value > bound)
		return bound;
	return value < -bound ? -bound : value;
}

struct wrr_turn {
	int64_t sum; /* of the candidates' weights */
	int64_t bound; /* of a credit: INT64_MAX, or sum after a change of weight */
};

static struct wrr_turn turn_begin(const struct sched_wrr *row, const struct sched_input *input,
				  uint32_t weights[CONFIG_MAX_LINKS])
{
	struct wrr_turn turn = { .sum = 0, .bound = INT64_MAX };
	bool changed = false;

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		weights[i] = link_runtime_weight(input->runtime, i);
		turn.sum += weights[i];
		changed |= row[i].weight != weights[i];
	}
	if (changed)
		turn.bound = turn.sum;
	return turn;
}

static unsigned wrr_peek(const struct sched_state *state, const struct sched_input *input,
			 int64_t scores[CONFIG_MAX_LINKS])
{
	const struct sched_wrr *row = state->wrr[input->slot];
	uint32_t weights[CONFIG_MAX_LINKS];
	const struct wrr_turn turn = turn_begin(row, input, weights);
	unsigned best = sched_lowest(input->candidates);

	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = clamp(row[i].credit, turn.bound) + weights[i];
		if (scores[i] > scores[best])
			best = i;
	}
	return best;
}

static unsigned wrr_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_wrr *row = state->wrr[input->slot];
	uint32_t weights[CONFIG_MAX_LINKS];
	unsigned best = sched_lowest(input->candidates);
	struct wrr_turn turn;

	if (!(input->candidates & (input->candidates - 1)))
		return best;
	turn = turn_begin(row, input, weights);
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		row[i].credit = clamp(row[i].credit, turn.bound) + weights[i];
		row[i].weight = weights[i];
		if (row[i].credit > row[best].credit)
			best = i;
	}
	row[best].credit -= turn.sum;
	return best;
}

const struct sched_ops sched_wrr_ops = { .pick = wrr_pick, .peek = wrr_peek };
