/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/budget.h - may events go on costing what they cost?
 *
 * A bucket of processor time that fills at the rate of the budget and holds one
 * second of it: a flood is over the budget within a third of a second, a
 * burst is not. Then events are given up for a pause, which doubles each time,
 * and lasts as long as new flows come at a rate that would not be affordable.
 */
#ifndef NFQB_BUDGET_H
#define NFQB_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct budget {
	uint64_t debt_us; /* spent, and not yet covered by the budget */
	uint64_t paid; /* us, monotonic: covered up to here */
	uint64_t spent_us, flows; /* since events were taken up: what one flow costs */
	unsigned pause_s, paused; /* length of the next pause; seconds left of this one */
	unsigned calm_s; /* seconds within the budget */
};

void budget_init(struct budget *budget, uint64_t now_us);
/* Events took so much processor time */
void budget_spend(struct budget *budget, uint64_t us);
/* Several times a second, with the new flows since the last call. True: beyond `percent` of a
 * processor, a pause begins. */
bool budget_exceeded(struct budget *budget, uint64_t now_us, unsigned percent, uint64_t flows);
/* Every second, with the new flows of that second */
void budget_second(struct budget *budget, unsigned percent, uint64_t flows);

static inline bool budget_paused(const struct budget *budget)
{
	return budget->paused > 0;
}

#endif
