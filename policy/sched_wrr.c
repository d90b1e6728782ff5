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

static int64_t read_credit(const struct sched_wrr *row)
{
	return atomic_load_explicit(&row->credit, memory_order_relaxed);
}

static void write_credit(struct sched_wrr *row, int64_t credit)
{
	atomic_store_explicit(&row->credit, credit, memory_order_relaxed);
}

/* After a change of weight: no credit beyond what these weights could have made */
static void cut_credits(struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t bound)
{
	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		write_credit(&row[i], clamp(read_credit(&row[i]), bound));
		atomic_store_explicit(&row[i].weight, weights[i], memory_order_relaxed);
	}
}

struct wrr_turn {
	int64_t sum; /* of the candidates' weights */
	bool changed; /* some weight, since its last turn: credits have to be cut to the sum */
};

static struct wrr_turn turn_begin(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights)
{
	struct wrr_turn turn = { .sum = 0 };

	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		turn.sum += weights[i];
		turn.changed |= atomic_load_explicit(&row[i].weight, memory_order_relaxed) != weights[i];
	}
	return turn;
}

unsigned sched_wrr_look(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t *scores)
{
	const struct wrr_turn turn = turn_begin(row, candidates, weights);
	const int64_t bound = turn.changed ? turn.sum : INT64_MAX;
	unsigned best = sched_lowest(candidates);

	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = clamp(read_credit(&row[i]), bound) + weights[i];
		if (scores[i] > scores[best])
			best = i;
	}
	return best;
}

unsigned sched_wrr_take(struct sched_wrr *row, uint64_t candidates, const uint32_t *weights)
{
	int64_t most = INT64_MIN;
	unsigned best = sched_lowest(candidates);
	struct wrr_turn turn;

	if (!(candidates & (candidates - 1)))
		return best;
	turn = turn_begin(row, candidates, weights);
	if (turn.changed)
		cut_credits(row, candidates, weights, turn.sum);
	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		const int64_t credit = read_credit(&row[i]) + weights[i];

		write_credit(&row[i], credit);
		/* no branch: the turns look random */
		best = credit > most ? i : best;
		most = credit > most ? credit : most;
	}
	write_credit(&row[best], most - turn.sum);
	return best;
}

static void read_weights(const struct sched_input *input, uint32_t *weights)
{
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		weights[i] = link_runtime_weight(input->runtime, i);
	}
}

static unsigned wrr_peek(const struct sched_state *state, const struct sched_input *input,
			 int64_t scores[CONFIG_MAX_LINKS])
{
	uint32_t weights[CONFIG_MAX_LINKS];

	read_weights(input, weights);
	return sched_wrr_look(state->wrr[input->slot], input->candidates, weights, scores);
}

static unsigned wrr_pick(struct sched_state *state, const struct sched_input *input)
{
	uint32_t weights[CONFIG_MAX_LINKS];

	read_weights(input, weights);
	return sched_wrr_take(state->wrr[input->slot], input->candidates, weights);
}

const struct sched_ops sched_wrr_ops = { .pick = wrr_pick, .peek = wrr_peek };
