/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_recent.c - the answers of the last seconds
 */
#include "tests/unit/fixture.h"

#include "policy/recent.h"

static void test_lives_for_its_lifetime(void **state)
{
	struct recent *recent = recent_new(6);

	(void)state;
	assert_int_equal(recent_get(recent, 42, 1000), 0);
	recent_put(recent, 42, 7, 1000);
	assert_int_equal(recent_get(recent, 42, 1000), 7);
	assert_int_equal(recent_get(recent, 42, 1000 + RECENT_LIFETIME_MS), 7);
	assert_int_equal(recent_get(recent, 42, 1001 + RECENT_LIFETIME_MS), 0);
	assert_int_equal(recent_get(recent, 43, 1000), 0);
	recent_put(recent, 42, 8, 9000);
	assert_int_equal(recent_get(recent, 42, 9001), 8);
	recent_free(recent);
}

static void test_oldest_of_a_set_goes_first(void **state)
{
	struct recent *recent = recent_new(6);

	(void)state;
	for (uint64_t i = 1; i <= 5; i++)
		recent_put(recent, i, (uint32_t)i, 1000 + i);
	assert_int_equal(recent_get(recent, 1, 1010), 0);
	for (uint64_t i = 2; i <= 5; i++)
		assert_int_equal(recent_get(recent, i, 1010), i);
	recent_put(recent, 2, 22, 1011); /* put again: young again */
	recent_put(recent, 6, 6, 1012);
	assert_int_equal(recent_get(recent, 2, 1012), 22);
	assert_int_equal(recent_get(recent, 3, 1012), 0);
	recent_free(recent);
}

static void test_smallest_table(void **state)
{
	struct recent *recent = recent_new(0);

	(void)state;
	for (uint64_t key = 0; key < 1000; key++) {
		recent_put(recent, key * 0x9e3779b97f4a7c15, (uint32_t)key + 1, 1000);
		assert_int_equal(recent_get(recent, key * 0x9e3779b97f4a7c15, 1000), key + 1);
	}
	recent_free(recent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives_for_its_lifetime),
		cmocka_unit_test(test_oldest_of_a_set_goes_first),
		cmocka_unit_test(test_smallest_table),
	};

	return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
