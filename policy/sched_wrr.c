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
	bool changed; /* some weight, since its last turn: credits have to be cut to the sum */
};

static struct wrr_turn turn_begin(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights)
{
	struct wrr_turn turn = { .sum = 0 };

	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		turn.sum += weights[i];
		turn.changed |= sched_wrr_weight(row, i) != weights[i];
	}
	return turn;
}

/* After a change of weight: no credit beyond what these weights could have made */
static void cut_credits(struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t bound)
{
	row->known = 0;
	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);
		const int64_t credit = sched_wrr_credit(row, i);

		sched_wrr_add(row, i, clamp(credit, bound) - credit);
		atomic_store_explicit(&row->weight[i], weights[i], memory_order_relaxed);
	}
}

unsigned sched_wrr_look(const struct sched_wrr *row, uint64_t candidates, const uint32_t *weights, int64_t *scores)
{
	const struct wrr_turn turn = turn_begin(row, candidates, weights);
	const int64_t bound = turn.changed ? turn.sum : INT64_MAX;
	unsigned best = sched_lowest(candidates);

	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		scores[i] = clamp(sched_wrr_credit(row, i), bound) + weights[i];
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
		const int64_t credit = sched_wrr_add(row, i, weights[i]);

		best = credit > most ? i : best;
		most = credit > most ? credit : most;
	}
	sched_wrr_add(row, best, -turn.sum);
	return best;
}

/* Are the weights those of the last turn? */
static bool known(struct sched_wrr *row, const struct sched_lineup *lineup)
{
	bool same = true;

	if (row->known == lineup->stamp)
		return true;
	for (unsigned j = 0; j < lineup->n; j++)
		same &= sched_wrr_weight(row, lineup->link[j]) == lineup->weight[j];
	row->known = same ? lineup->stamp : 0;
	return same;
}

/* Each link gains its weight; returns the standing of the richest. Two at a time: one comparison
 * need not wait for the other; and no branch, as the turns look random. */
static int64_t take_turn(struct sched_wrr *row, const struct sched_lineup *lineup)
{
	const unsigned n = lineup->n;
	int64_t most = INT64_MIN, other = INT64_MIN;
	unsigned j = 0;

	for (; j + 1 < n; j += 2) {
		const unsigned i = lineup->link[j], k = lineup->link[j + 1];
		const int64_t one = sched_wrr_standing(sched_wrr_add(row, i, lineup->weight[j]), i);
		const int64_t two = sched_wrr_standing(sched_wrr_add(row, k, lineup->weight[j + 1]), k);

		most = one > most ? one : most;
		other = two > other ? two : other;
	}
	if (j < n) {
		const unsigned i = lineup->link[j];
		const int64_t one = sched_wrr_standing(sched_wrr_add(row, i, lineup->weight[j]), i);

		most = one > most ? one : most;
	}
	return other > most ? other : most;
}

static unsigned wrr_pick(struct sched_state *state, const struct sched_input *input)
{
	struct sched_wrr *row = &state->wrr[input->slot];
	const struct sched_lineup *lineup;
	uint32_t weights[CONFIG_MAX_LINKS];

	if (!(input->candidates & (input->candidates - 1)))
		return sched_lowest(input->candidates);
	lineup = sched_lineup_get(state, input);
	if (known(row, lineup))
		return sched_wrr_pay(row, take_turn(row, lineup), lineup->sum);
	sched_lineup_spread(lineup, lineup->weight, weights);
	return sched_wrr_take(row, input->candidates, weights);
}

static unsigned wrr_peek(const struct sched_state *state, const struct sched_input *input,
			 int64_t scores[CONFIG_MAX_LINKS])
{
	uint32_t weights[CONFIG_MAX_LINKS];
	struct sched_lineup lineup;

	sched_lineup_make(&lineup, input);
	sched_lineup_spread(&lineup, lineup.weight, weights);
	return sched_wrr_look(&state->wrr[input->slot], input->candidates, weights, scores);
}

const struct sched_ops sched_wrr_ops = { .pick = wrr_pick, .peek = wrr_peek };
