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

/* One set of four against a list: the same place is found by both ways to put */
static void test_against_a_list(void **state)
{
	struct {
		uint64_t key, time;
		uint32_t value;
	} list[4] = { { 0 } };
	struct recent *recent = recent_new(0);
	uint64_t random = fixture_seed(), now = 1000;

	(void)state;
	for (uint32_t turn = 1; turn < 50000; turn++) {
		const uint64_t key = fixture_below(&random, 7); /* 0, too: what free places have */
		uint32_t expected = 0, place = 4;
		struct recent_entry *found;

		now += fixture_below(&random, 800);
		for (unsigned i = 4; i--;) /* its own, else a free one, else the oldest; of those alike the first */
			place = place == 4 || list[i].time <= list[place].time ? i : place;
		for (unsigned i = 4; i--;)
			place = list[i].value && list[i].key == key ? i : place;
		if (list[place].value && list[place].key == key && now - list[place].time <= RECENT_LIFETIME_MS)
			expected = list[place].value;
		assert_int_equal(recent_get(recent, key, now), expected);
		assert_int_equal(recent_find(recent, key, now, &found), expected);
		if (fixture_below(&random, 2))
			continue;
		if (turn % 2)
			recent_set(found, key, turn, now);
		else
			recent_put(recent, key, turn, now);
		list[place].key = key;
		list[place].time = now;
		list[place].value = turn;
	}
	recent_free(recent);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lives_for_its_lifetime),
		cmocka_unit_test(test_oldest_of_a_set_goes_first),
		cmocka_unit_test(test_smallest_table),
		cmocka_unit_test(test_against_a_list),
	};

	return cmocka_run_group_tests_name("recent", tests, NULL, NULL);
}
