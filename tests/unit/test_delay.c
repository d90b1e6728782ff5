/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_delay.c - quantiles of delays
 */
#include "tests/unit/fixture.h"

#include "nfq-balancer/delay.c" /* NOLINT(bugprone-suspicious-include) */

static void test_bins_follow_each_other(void **state)
{
	uint32_t start = 0;

	(void)state;
	for (unsigned bin = 0; bin < bin_of(UINT32_MAX); bin++) {
		assert_int_equal(bin_of(start), bin);
		assert_int_equal(bin_of(bin_end(bin)), bin);
		start = bin_end(bin) + 1;
	}
	assert_in_range(bin_of(UINT32_MAX), 1, DELAY_BINS - 1);
	assert_int_equal(bin_end(bin_of(UINT32_MAX)), UINT32_MAX);
}

static void test_quantiles(void **state)
{
	struct delay delay = { .total = 0 };

	(void)state;
	assert_int_equal(delay_quantile(&delay, 500), 0);
	for (uint32_t us = 1; us <= 1000; us++)
		delay_add(&delay, us);
	assert_in_range(delay_quantile(&delay, 500), 500, 600);
	assert_in_range(delay_quantile(&delay, 990), 990, 1188);
	assert_in_range(delay_quantile(&delay, 1000), 1000, 1200);
	assert_in_range(delay_quantile(&delay, 1), 1, 1);
}

static void test_old_ones_fade(void **state)
{
	struct delay delay = { .total = 0 };

	(void)state;
	for (unsigned i = 0; i < 10000; i++)
		delay_add(&delay, 50000);
	for (unsigned i = 0; i < 10; i++)
		delay_fade(&delay);
	assert_in_range(delay.total, 400, 1000); /* what is left when nothing follows */
	for (unsigned i = 0; i < 2000; i++)
		delay_add(&delay, 100);
	assert_in_range(delay_quantile(&delay, 500), 100, 120);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bins_follow_each_other),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_old_ones_fade),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
