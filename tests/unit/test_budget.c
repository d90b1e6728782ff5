/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_budget.c - events that cost too much are given up, and taken up again
 */
#include "tests/unit/fixture.h"

#include "nfq-balancer/budget.c" /* NOLINT(bugprone-suspicious-include) */

#define TICK_US 20000
#define PERCENT 20

/* So many ticks of 20 ms at this cost; the one at which the budget was exceeded, or -1 */
static int spend(struct budget *budget, uint64_t *now, int ticks, uint64_t us, uint64_t flows)
{
	for (int i = 0; i < ticks; i++) {
		budget_spend(budget, us);
		*now += TICK_US;
		if (budget_exceeded(budget, *now, PERCENT, flows))
			return i;
	}
	return -1;
}

static void test_within(void **state)
{
	struct budget budget;
	uint64_t now = 5000000;

	(void)state;
	budget_init(&budget, now);
	assert_int_equal(spend(&budget, &now, 100000, TICK_US * PERCENT / 100, 100), -1);
	assert_false(budget_paused(&budget));
	/* bursts among calm seconds */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(spend(&budget, &now, 12, TICK_US, 1000), -1);
		assert_int_equal(spend(&budget, &now, 150, 0, 0), -1);
	}
}

static void test_flood(void **state)
{
	struct budget budget;
	uint64_t now = 5000000;

	(void)state;
	budget_init(&budget, now);
	/* a whole processor: 200 ms of budget at once, 80 % faster spent than earned */
	assert_in_range(spend(&budget, &now, 1000, TICK_US, 2600), 10, 14);
	assert_true(budget_paused(&budget));
	/* the flood goes on: no pause ends */
	for (int i = 0; i < 1000; i++)
		budget_second(&budget, PERCENT, 130000);
	assert_true(budget_paused(&budget));
	/* a tenth of it would cost 10 % */
	budget_second(&budget, PERCENT, 13000);
	assert_false(budget_paused(&budget));
}

static void test_pauses_double(void **state)
{
	static const unsigned expected[] = { 10, 20, 40, 80, 160, 320, 320 };
	struct budget budget;
	uint64_t now = 5000000;

	(void)state;
	budget_init(&budget, now);
	for (unsigned i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		unsigned seconds = 0;

		assert_true(spend(&budget, &now, 1000, TICK_US, 100) >= 0);
		for (; budget_paused(&budget); seconds++)
			budget_second(&budget, PERCENT, 0);
		assert_int_equal(seconds, expected[i]);
	}
	/* after a long time of peace the next pause is short again */
	for (unsigned i = 0; i < 320; i++)
		budget_second(&budget, PERCENT, 10);
	assert_true(spend(&budget, &now, 1000, TICK_US, 100) >= 0);
	assert_int_equal(budget.paused, 10);
}

static void test_nothing_decided(void **state)
{
	struct budget budget;
	uint64_t now = 5000000;

	(void)state;
	budget_init(&budget, now);
	assert_true(spend(&budget, &now, 1000, TICK_US, 0) >= 0);
	for (int i = 0; i < 10; i++)
		budget_second(&budget, PERCENT, 0);
	assert_false(budget_paused(&budget));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_pauses_double),
		cmocka_unit_test(test_nothing_decided),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
