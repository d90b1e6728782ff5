/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched.c - the schedulers
 */
#include "tests/unit/fixture.h"

#include <math.h>

#include "policy/sched.h"

#define ALL3 0x7u

struct bench {
	struct link_runtime runtime;
	struct sched_state *state;
};

static struct bench *bench_new(unsigned n, const uint32_t *weights)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));

	assert_non_null(bench);
	memset(bench, 0, sizeof(*bench));
	bench->state = calloc(1, sizeof(*bench->state));
	assert_non_null(bench->state);
	for (unsigned i = 0; i < n; i++) {
		bench->runtime.id[i] = i + 1;
		link_runtime_set_weight(&bench->runtime, i, weights[i]);
	}
	return bench;
}

static void bench_free(struct bench *bench)
{
	free(bench->state);
	free(bench);
}

static unsigned wrr(struct bench *bench, uint64_t candidates)
{
	const struct sched_input input = { .slot = 7, .candidates = candidates, .runtime = &bench->runtime };

	return sched_pick(SCHED_WRR, bench->state, &input);
}

static struct sched_state *hash_state;

static unsigned hash_of(const struct link_runtime *runtime, uint64_t candidates, uint64_t hash)
{
	const struct sched_input input = { .candidates = candidates, .runtime = runtime, .hash = hash };
	int64_t scores[CONFIG_MAX_LINKS];
	const unsigned link = sched_pick(SCHED_HASH, hash_state, &input);

	/* whatever is remembered, it is what asking all links says */
	assert_int_equal(link, sched_peek(SCHED_HASH, hash_state, &input, scores));
	assert_int_equal(link, sched_pick(SCHED_HASH, hash_state, &input));
	return link;
}

/* ---- wrr ---- */

static void test_wrr_exact_without_bursts(void **state)
{
	const uint32_t weights[] = { 3, 2, 1 };
	struct bench *bench = bench_new(3, weights);
	unsigned counts[3] = { 0 };
	unsigned last = 3, run = 0;

	(void)state;
	for (unsigned turn = 1; turn <= 6000; turn++) {
		const unsigned link = wrr(bench, ALL3);

		assert_in_range(link, 0, 2);
		counts[link]++;
		run = link == last ? run + 1 : 1;
		last = link;
		assert_in_range(run, 1, 2); /* half of all turns are the first link's */
		if (turn % 6 == 0) { /* every whole round is exact */
			assert_int_equal(counts[0], turn / 2);
			assert_int_equal(counts[1], turn / 3);
			assert_int_equal(counts[2], turn / 6);
		}
	}
	bench_free(bench);
}

static void test_wrr_known_sequence(void **state)
{
	const uint32_t weights[] = { 5, 1, 1 };
	const unsigned expected[] = { 0, 0, 0, 2, 1, 0, 0 }; /* (0 1) 2 in turns of 6 to 1, 0 1 in turns of 5 to 1 */
	struct bench *bench = bench_new(3, weights);

	(void)state;
	for (unsigned turn = 0; turn < 14; turn++)
		assert_int_equal(wrr(bench, ALL3), expected[turn % 7]);
	bench_free(bench);
}

static void test_wrr_groups_are_apart(void **state)
{
	const uint32_t weights[] = { 2, 1 };
	struct bench *bench = bench_new(2, weights);
	struct sched_input a = { .slot = 0, .candidates = 3, .runtime = &bench->runtime };
	struct sched_input any = { .slot = SCHED_SLOT_ANY, .candidates = 3, .runtime = &bench->runtime };

	(void)state;
	for (unsigned turn = 0; turn < 9; turn++) {
		const unsigned expected = turn % 3 == 1;

		assert_int_equal(sched_pick(SCHED_WRR, bench->state, &a), expected);
		assert_int_equal(sched_pick(SCHED_WRR, bench->state, &any), expected);
	}
	bench_free(bench);
}

static void test_wrr_only_candidates(void **state)
{
	const uint32_t weights[] = { 1000, 1, 1 };
	struct bench *bench = bench_new(3, weights);
	unsigned counts[3] = { 0 };

	(void)state;
	for (unsigned turn = 0; turn < 600; turn++)
		counts[wrr(bench, 0x6)]++;
	assert_int_equal(counts[0], 0);
	assert_int_equal(counts[1], 300);
	assert_int_equal(counts[2], 300);
	assert_int_equal(wrr(bench, 0x4), 2);
	bench_free(bench);
}

/* IPv6 flows that only one link can carry must not bend the split of the others */
static void test_wrr_lone_candidate_changes_nothing(void **state)
{
	const uint32_t weights[] = { 1, 100 };
	struct bench *bench = bench_new(2, weights);
	unsigned counts[2] = { 0 };

	(void)state;
	for (unsigned turn = 0; turn < 1010; turn++) {
		assert_int_equal(wrr(bench, 1), 0);
		counts[wrr(bench, 3)]++;
	}
	assert_int_equal(counts[0], 10);
	assert_int_equal(counts[1], 1000);
	bench_free(bench);
}

/* Debts made at large weights must not be paid back at small ones */
static void test_wrr_weight_change_counts_at_once(void **state)
{
	const uint32_t weights[] = { CONFIG_MAX_WEIGHT, CONFIG_MAX_WEIGHT };
	struct bench *bench = bench_new(2, weights);
	unsigned counts[2] = { 0 };

	(void)state;
	wrr(bench, 3);
	link_runtime_set_weight(&bench->runtime, 0, 1);
	link_runtime_set_weight(&bench->runtime, 1, 1);
	for (unsigned turn = 0; turn < 100; turn++)
		counts[wrr(bench, 3)]++;
	assert_in_range(counts[0], 48, 52);
	link_runtime_set_weight(&bench->runtime, 0, 9);
	memset(counts, 0, sizeof(counts));
	for (unsigned turn = 0; turn < 1000; turn++)
		counts[wrr(bench, 3)]++;
	assert_in_range(counts[0], 899, 901);
	bench_free(bench);
}

static void test_peek_tells_the_next_pick(void **state)
{
	uint64_t random = fixture_seed();
	uint32_t weights[CONFIG_MAX_LINKS];
	struct bench *bench;

	(void)state;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		weights[i] = 1 + fixture_below(&random, 50);
	bench = bench_new(CONFIG_MAX_LINKS, weights);
	for (unsigned turn = 0; turn < 5000; turn++) {
		const struct sched_input input = {
			.candidates = fixture_random(&random) | 1,
			.runtime = &bench->runtime,
			.hash = fixture_random(&random),
		};
		const enum scheduler scheduler = turn % 2 ? SCHED_WRR : SCHED_HASH;
		int64_t scores[CONFIG_MAX_LINKS];
		const unsigned next = sched_peek(scheduler, bench->state, &input, scores);

		assert_true(input.candidates & UINT64_C(1) << next);
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			if (input.candidates & UINT64_C(1) << i)
				assert_true(scores[i] <= scores[next]);
		}
		assert_int_equal(sched_pick(scheduler, bench->state, &input), next);
		if (turn % 97 == 0)
			link_runtime_set_weight(&bench->runtime, turn % CONFIG_MAX_LINKS,
						1 + fixture_below(&random, 1000));
	}
	bench_free(bench);
}

/* ---- hash ---- */

static void test_hash_split_follows_weight(void **state)
{
	const uint32_t weights[] = { 3, 2, 1 };
	struct bench *bench = bench_new(3, weights);
	unsigned counts[3] = { 0 };
	const unsigned keys = 120000;

	(void)state;
	for (uint64_t key = 0; key < keys; key++)
		counts[hash_of(&bench->runtime, ALL3, key * 0x9e3779b97f4a7c15)]++;
	for (unsigned i = 0; i < 3; i++) { /* 1 % of all is seven standard deviations */
		const int expected = (int)(keys * weights[i] / 6);

		assert_in_range((int)counts[i] - expected + 1200, 0, 2400);
	}
	bench_free(bench);
}

/* The finalizer that the scheduler documents, for the oracle */
static uint64_t finalize(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

#define LOG_ERROR 4e-9 /* of the scheduler's integers, in natural logarithms */

static double oracle_score(const struct link_runtime *runtime, unsigned link, uint64_t hash)
{
	const uint64_t u = finalize(hash >> 48 ^ finalize(runtime->id[link])) | 1; /* one of 65,536 buckets */

	return -log((double)u / 18446744073709551616.0) / atomic_load(&runtime->weight[link]);
}

/* Rendezvous in floating point. Returns whether the winner leads by more than the integers' error. */
static bool oracle(const struct link_runtime *runtime, uint64_t candidates, uint64_t hash, unsigned *winner)
{
	double best = HUGE_VAL;

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if ((candidates >> i & 1) && oracle_score(runtime, i, hash) < best) {
			best = oracle_score(runtime, i, hash);
			*winner = i;
		}
	}
	best += LOG_ERROR / atomic_load(&runtime->weight[*winner]);
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if ((candidates >> i & 1) && i != *winner &&
		    oracle_score(runtime, i, hash) - LOG_ERROR / atomic_load(&runtime->weight[i]) <= best)
			return false;
	}
	return true;
}

static void test_hash_against_floating_point(void **state)
{
	uint64_t random = fixture_seed();
	unsigned clear = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		static struct link_runtime runtime;
		const uint64_t candidates = fixture_random(&random) & fixture_random(&random);
		const uint64_t hash = fixture_random(&random);
		unsigned expected = 0;

		if (!candidates)
			continue;
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			runtime.id[i] = 1 + i * 3;
			link_runtime_set_weight(&runtime, i,
						1 + fixture_below(&random, round % 2 ? 10 : CONFIG_MAX_WEIGHT));
		}
		if (!oracle(&runtime, candidates, hash, &expected))
			continue;
		clear++;
		assert_int_equal(hash_of(&runtime, candidates, hash), expected);
	}
	assert_true(clear > 19000);
}

static void test_hash_moves_only_what_must(void **state)
{
	const uint32_t weights[] = { 4, 3, 2, 1 };
	struct bench *bench = bench_new(4, weights);
	unsigned to_new = 0, to_raised = 0;

	(void)state;
	for (uint64_t key = 0; key < 20000; key++) {
		const uint64_t hash = key * 0x9e3779b97f4a7c15;
		const unsigned without = hash_of(&bench->runtime, 0x7, hash);
		const unsigned with = hash_of(&bench->runtime, 0xf, hash);
		unsigned raised;

		if (with != without) { /* a fourth link: flows move to it, never between the others */
			assert_int_equal(with, 3);
			to_new++;
		}
		link_runtime_set_weight(&bench->runtime, 1, 6);
		raised = hash_of(&bench->runtime, 0xf, hash);
		link_runtime_set_weight(&bench->runtime, 1, 3);
		if (raised != with) {
			assert_int_equal(raised, 1);
			to_raised++;
		}
	}
	assert_in_range(to_new, 1700, 2300); /* a tenth */
	assert_in_range(to_raised, 2900, 3500); /* 6/13 - 3/10 */
	bench_free(bench);
}

/* The order of links in the file, and so their index, means nothing */
static void test_hash_depends_on_ids(void **state)
{
	const uint32_t weights[] = { 4, 3, 2 };
	struct bench *bench = bench_new(3, weights);

	(void)state;
	for (uint64_t key = 0; key < 1000; key++) {
		const uint64_t hash = key * 0x9e3779b97f4a7c15;
		static struct link_runtime shifted;

		for (unsigned i = 0; i < 3; i++) {
			shifted.id[i + 10] = i + 1;
			link_runtime_set_weight(&shifted, i + 10, weights[i]);
		}
		assert_int_equal(hash_of(&shifted, UINT64_C(7) << 10, hash), hash_of(&bench->runtime, 7, hash) + 10);
	}
	bench_free(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrr_exact_without_bursts),
		cmocka_unit_test(test_wrr_known_sequence),
		cmocka_unit_test(test_wrr_groups_are_apart),
		cmocka_unit_test(test_wrr_only_candidates),
		cmocka_unit_test(test_wrr_lone_candidate_changes_nothing),
		cmocka_unit_test(test_wrr_weight_change_counts_at_once),
		cmocka_unit_test(test_peek_tells_the_next_pick),
		cmocka_unit_test(test_hash_split_follows_weight),
		cmocka_unit_test(test_hash_against_floating_point),
		cmocka_unit_test(test_hash_moves_only_what_must),
		cmocka_unit_test(test_hash_depends_on_ids),
	};

	int failed;

	hash_state = calloc(1, sizeof(*hash_state));
	failed = hash_state ? cmocka_run_group_tests_name("sched", tests, NULL, NULL) : 1;
	free(hash_state);
	return failed;
}
