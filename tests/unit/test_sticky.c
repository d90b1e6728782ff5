/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sticky.c - the table of clients and their links
 */
#include "tests/unit/fixture.h"

#include <pthread.h>

#include "policy/sticky.h"

#define TIMEOUT 600000

static void test_remembers_until_timeout(void **state)
{
	struct sticky *sticky = sticky_new(100);
	uint64_t age;

	(void)state;
	assert_int_equal(sticky_get(sticky, 42, 1000, TIMEOUT), 0);
	sticky_put(sticky, 42, 7, 1000);
	assert_int_equal(sticky_peek(sticky, 42, 1600, TIMEOUT, &age), 7);
	assert_in_range(age, 584, 616);
	assert_int_equal(sticky_peek(sticky, 42, 1000 + TIMEOUT - 100, TIMEOUT, &age), 7);
	assert_int_equal(sticky_peek(sticky, 42, 1000 + TIMEOUT + 100, TIMEOUT, &age), 0);
	assert_int_equal(sticky_get(sticky, 42, 1000 + TIMEOUT + 100, TIMEOUT), 0);
	assert_int_equal(sticky_get(sticky, 43, 1000, TIMEOUT), 0);
	sticky_free(sticky);
}

static void test_use_refreshes(void **state)
{
	struct sticky *sticky = sticky_new(100);
	uint64_t now = 5000, age;

	(void)state;
	sticky_put(sticky, 42, 7, now);
	for (unsigned i = 0; i < 10; i++) {
		now += TIMEOUT / 2;
		assert_int_equal(sticky_get(sticky, 42, now, TIMEOUT), 7);
	}
	assert_int_equal(sticky_peek(sticky, 42, now, TIMEOUT, &age), 7);
	assert_int_equal(age, 0);
	assert_int_equal(sticky_peek(sticky, 42, now + 500, TIMEOUT, &age), 7);
	assert_in_range(age, 484, 516); /* peek left it alone */
	sticky_free(sticky);
}

static void test_last_link_counts(void **state)
{
	struct sticky *sticky = sticky_new(100);

	(void)state;
	sticky_put(sticky, 42, 7, 1000);
	sticky_put(sticky, 42, 100000, 2000); /* a wide mask has room for such ids */
	assert_int_equal(sticky_get(sticky, 42, 2000, TIMEOUT), 100000);
	assert_int_equal(sticky_count(sticky, 2000, TIMEOUT), 1);
	sticky_free(sticky);
}

/* Two workers read their clocks a moment apart */
static void test_entry_from_ahead_is_new(void **state)
{
	struct sticky *sticky = sticky_new(100);
	uint64_t age;

	(void)state;
	sticky_put(sticky, 42, 7, 1000);
	assert_int_equal(sticky_peek(sticky, 42, 900, TIMEOUT, &age), 7);
	assert_int_equal(age, 0);
	sticky_free(sticky);
}

static void test_holds_what_it_promises(void **state)
{
	const size_t entries = 60000;
	struct sticky *sticky = sticky_new(entries);
	uint64_t random = fixture_seed();
	size_t count;

	(void)state;
	for (size_t i = 0; i < entries; i++)
		sticky_put(sticky, fixture_random(&random), 1, 1000);
	count = sticky_count(sticky, 1000, TIMEOUT);
	assert_in_range(count, entries * 9 / 10, entries); /* sets fill unevenly */
	for (size_t i = 0; i < 20 * entries; i++)
		sticky_put(sticky, fixture_random(&random), 1, 1000);
	assert_true(sticky_count(sticky, 1000, TIMEOUT) < 3 * entries); /* bounded */
	assert_int_equal(sticky_count(sticky, 1000 + 2 * TIMEOUT, TIMEOUT), 0);
	sticky_free(sticky);
}

/* Keys whose high bits are the same share a set of five */
static void test_oldest_of_a_set_goes_first(void **state)
{
	struct sticky *sticky = sticky_new(100);
	const uint64_t set = UINT64_C(0x123) << 52;
	uint64_t age;

	(void)state;
	for (unsigned i = 1; i <= 5; i++)
		sticky_put(sticky, set | i, i, 1000 * i);
	assert_int_equal(sticky_get(sticky, set | 1, 6000, TIMEOUT), 1); /* used again: now the second is oldest */
	sticky_put(sticky, set | 6, 6, 7000);
	assert_int_equal(sticky_peek(sticky, set | 2, 7000, TIMEOUT, &age), 0);
	for (unsigned i = 1; i <= 6; i++) {
		if (i != 2)
			assert_int_equal(sticky_peek(sticky, set | i, 7000, TIMEOUT, &age), i);
	}
	assert_int_equal(sticky_count(sticky, 7000, TIMEOUT), 5);
	sticky_free(sticky);
}

/* ---- threads: each key has one right link, so a torn entry shows ---- */

#define THREADS 4
#define KEYS 64
#define TURNS 100000

struct racer {
	pthread_t thread;
	struct sticky *sticky;
	uint64_t random;
	unsigned wrong, hits;
};

static uint64_t race_key(unsigned n)
{
	return (uint64_t)(n % 4) << 62 | (n + 1); /* four sets, sixteen keys for five places in each */
}

static void *race(void *argument)
{
	struct racer *racer = argument;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		const unsigned n = fixture_below(&racer->random, KEYS);
		const uint64_t now = turn;
		const unsigned link = sticky_get(racer->sticky, race_key(n), now, TIMEOUT);

		racer->hits += link != 0;
		racer->wrong += link != 0 && link != n + 1;
		if (!link || turn % 8 == 0)
			sticky_put(racer->sticky, race_key(n), n + 1, now);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct sticky *sticky = sticky_new(16);
	struct racer racers[THREADS];
	uint64_t random = fixture_seed();
	unsigned hits = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .sticky = sticky, .random = fixture_random(&random) };
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].wrong, 0);
		hits += racers[i].hits;
	}
	assert_true(hits > TURNS / 4);
	assert_in_range(sticky_count(sticky, TURNS, TIMEOUT), 1, 20);
	sticky_free(sticky);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_remembers_until_timeout),
		cmocka_unit_test(test_use_refreshes),
		cmocka_unit_test(test_last_link_counts),
		cmocka_unit_test(test_entry_from_ahead_is_new),
		cmocka_unit_test(test_holds_what_it_promises),
		cmocka_unit_test(test_oldest_of_a_set_goes_first),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("sticky", tests, NULL, NULL);
}
