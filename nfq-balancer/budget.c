/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/budget.c - may events go on costing what they cost?
 */
#include "nfq-balancer/budget.h"

#define PAUSE_MIN_S 10
#define PAUSE_MAX_S 320

void budget_init(struct budget *budget, uint64_t now_us)
{
	*budget = (struct budget){ .paid = now_us, .pause_s = PAUSE_MIN_S };
}

void budget_spend(struct budget *budget, uint64_t us)
{
	budget->debt_us += us;
	budget->spent_us += us;
}

bool budget_exceeded(struct budget *budget, uint64_t now_us, unsigned percent, uint64_t flows)
{
	const uint64_t income = (now_us - budget->paid) * percent / 100;

	budget->paid = now_us;
	budget->debt_us = budget->debt_us > income ? budget->debt_us - income : 0;
	if (budget_paused(budget))
		return false;
	budget->flows += flows;
	if (budget->debt_us <= UINT64_C(10000) * percent)
		return false;
	budget->debt_us = 0;
	budget->calm_s = 0;
	budget->paused = budget->pause_s;
	budget->pause_s = 2 * budget->pause_s < PAUSE_MAX_S ? 2 * budget->pause_s : PAUSE_MAX_S;
	return true;
}

/* At what the flows cost before, would these be within the budget? */
static bool affordable(const struct budget *budget, unsigned percent, uint64_t flows)
{
	return flows * budget->spent_us <= budget->flows * UINT64_C(10000) * percent;
}

void budget_second(struct budget *budget, unsigned percent, uint64_t flows)
{
	if (!budget_paused(budget)) {
		if (++budget->calm_s == PAUSE_MAX_S)
			budget->pause_s = PAUSE_MIN_S;
		return;
	}
	/* without flows of ours it was others' events: then only time tells */
	if (budget->paused == 1 && budget->flows && !affordable(budget, percent, flows))
		return;
	if (--budget->paused == 0)
		budget->spent_us = budget->flows = 0;
}
