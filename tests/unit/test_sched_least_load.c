/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched_least_load.c - join the shortest queue, against exact arithmetic
 */
#include "tests/unit/fixture.h"

#include <pthread.h>

#include "policy/sched.h"

/* Enough for the exact product of any count, weight and capacity */
__extension__ typedef unsigned __int128 exact;

#define MAX_WORKERS 8
#define SLOT 3 /* of the group; decide() has one of its own */

struct bench {
	struct link_runtime runtime;
	struct load load;
	struct sched_state *state[MAX_WORKERS]; /* by worker */
};

/* Of a worker that has done nothing yet. They are large, so each is made once, and what the last test used cleared. */
static struct sched_state *new_state(unsigned worker)
{
	static struct sched_state states[MAX_WORKERS];
	struct sched_state *state = &states[worker];

	memset(&state->group[SLOT], 0, sizeof(state->group[SLOT]));
	state->stamps = 0;
	state->unreported = 0;
	state->noise = 0;
	return state;
}

static struct bench *bench_new(unsigned n, const uint32_t *capacities)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));

	assert_non_null(bench);
	memset(bench, 0, sizeof(*bench));
	bench->load.workers = 1;
	for (unsigned i = 0; i < MAX_WORKERS; i++)
		bench->state[i] = new_state(i);
	for (unsigned i = 0; i < n; i++) {
		link_runtime_set_weight(&bench->runtime, i, 1);
		link_runtime_set_capacity(&bench->runtime, i, capacities[i]);
	}
	return bench;
}

static void set(struct load_counts *counts, unsigned link, uint32_t flows)
{
	load_add(counts, link, flows - atomic_load(&counts->flows[link]));
}

static void set_sending(struct bench *bench, unsigned link, uint32_t flows)
{
	set(&bench->load.followed, link, flows);
}

static unsigned pick_as(struct bench *bench, unsigned worker, uint64_t candidates)
{
	const struct sched_input input = {
		.slot = SLOT, .candidates = candidates, .runtime = &bench->runtime, .load = &bench->load
	};

	return sched_pick(SCHED_LEAST_LOAD, bench->state[worker], &input);
}

static unsigned pick(struct bench *bench, uint64_t candidates)
{
	return pick_as(bench, 0, candidates);
}

/* ---- the minimum, exactly ---- */

/* (sending + 1) / effective capacity as numerator and denominator; no rounding but the mean's, which is the definition's */
struct fraction {
	exact flows, capacity;
};

static struct fraction load_of(const struct bench *bench, uint64_t candidates, unsigned link)
{
	uint64_t sum = 0, stated = 0, capacity = atomic_load(&bench->runtime.capacity[link]);

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		const uint32_t one = atomic_load(&bench->runtime.capacity[i]);

		if (candidates >> i & 1 && one) {
			sum += one;
			stated++;
		}
	}
	if (!capacity)
		capacity = stated ? sum / stated : 1;
	return (struct fraction){ (exact)load_sending(&bench->load, link) + 1,
				  (exact)capacity * atomic_load(&bench->runtime.weight[link]) };
}

/* a < b * (1 - 1/slack); slack 0: a < b */
static bool is_less(struct fraction a, struct fraction b, uint64_t slack)
{
	if (!slack)
		return a.flows * b.capacity < b.flows * a.capacity;
	return a.flows * b.capacity * slack < b.flows * a.capacity * (slack - 1);
}

static void check_minimum(const struct bench *bench, uint64_t candidates, unsigned picked, uint64_t slack)
{
	assert_true(candidates >> picked & 1);
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (candidates >> i & 1)
			assert_false(is_less(load_of(bench, candidates, i), load_of(bench, candidates, picked), slack));
	}
}

static uint64_t random_links(uint64_t *seed)
{
	const uint64_t links = fixture_random(seed) & fixture_random(seed);

	return links ? links : 1;
}

/* Weights, capacities and counts of any ordinary size: no rounding at all */
static void test_minimum_exact(void **state)
{
	static const uint32_t none[CONFIG_MAX_LINKS];
	struct bench *bench = bench_new(CONFIG_MAX_LINKS, none);
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		const uint64_t candidates = random_links(&seed);

		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			link_runtime_set_weight(&bench->runtime, i, 1 + fixture_below(&seed, 1000));
			link_runtime_set_capacity(&bench->runtime, i,
						  fixture_below(&seed, 4) ? 1 + fixture_below(&seed, 100000) : 0);
			set_sending(bench, i, fixture_below(&seed, round % 2 ? 20 : 1000000));
		}
		check_minimum(bench, candidates, pick(bench, candidates), 0);
	}
	free(bench);
}

/* The largest that each may be, beside the smallest: scaled, so right to one in a million */
static void test_minimum_huge_and_tiny(void **state)
{
	static const uint32_t none[CONFIG_MAX_LINKS];
	struct bench *bench = bench_new(CONFIG_MAX_LINKS, none);
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		const uint64_t candidates = random_links(&seed);

		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			link_runtime_set_weight(&bench->runtime, i,
						CONFIG_MAX_WEIGHT - fixture_below(&seed, CONFIG_MAX_WEIGHT / 2));
			link_runtime_set_capacity(&bench->runtime, i,
						  UINT32_MAX - fixture_below(&seed, UINT32_MAX / 2));
			set_sending(bench, i, INT32_MAX - fixture_below(&seed, 3));
		}
		check_minimum(bench, candidates, pick(bench, candidates), 1000000);
	}
	free(bench);
}

/* Nothing is so small beside the largest that it is never used, or always */
static void test_tiny_beside_huge(void **state)
{
	const uint32_t capacities[] = { UINT32_MAX, 1 };
	struct bench *bench = bench_new(2, capacities);

	(void)state;
	link_runtime_set_weight(&bench->runtime, 0, CONFIG_MAX_WEIGHT);
	set_sending(bench, 0, 1000000);
	assert_int_equal(pick(bench, 3), 0);
	set_sending(bench, 0, INT32_MAX);
	assert_int_equal(pick(bench, 3), 1); /* 2^31 flows against none on a 2^27th at least */
	set_sending(bench, 1, INT32_MAX);
	assert_int_equal(pick(bench, 3), 0);
	free(bench);
}

/* ---- what capacity means ---- */

static void test_weight_scales_capacity(void **state)
{
	const uint32_t capacities[] = { 2000, 2000 };
	struct bench *bench = bench_new(2, capacities);
	unsigned counts[2] = { 0 };

	(void)state;
	link_runtime_set_weight(&bench->runtime, 1, 3);
	for (unsigned i = 0; i < 400; i++) {
		const unsigned link = pick(bench, 3);

		counts[link]++;
		load_add(&bench->load.steered[0], link, 1);
	}
	assert_int_equal(counts[0], 100);
	assert_int_equal(counts[1], 300);
	free(bench);
}

static void test_unstated_capacity_is_an_average_one(void **state)
{
	const uint32_t capacities[] = { 3000, 0, 1000 };
	struct bench *bench = bench_new(3, capacities);

	(void)state;
	/* 30 of 3000, 19 of 2000 (the mean), 10 of 1000: the second is below, by one flow */
	set_sending(bench, 0, 29);
	set_sending(bench, 1, 18);
	set_sending(bench, 2, 9);
	assert_int_equal(pick(bench, 7), 1);
	set_sending(bench, 1, 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_not_equal(pick(bench, 7), 1);
	/* without the third, the mean is the first's */
	set_sending(bench, 1, 28);
	assert_int_equal(pick(bench, 3), 1);
	free(bench);
}

/* 0 means that none is stated: a slow link must not come to that by rounding */
static void test_slow_link_has_stated_its_capacity(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct link_runtime *runtime = fixture_zeroed(1, sizeof(*runtime));

	(void)state;
	config->links[0].download = 9600;
	config->links[1].upload = 25000;
	link_runtime_init(runtime, config);
	assert_int_equal(link_runtime_capacity(runtime, 0), 1);
	assert_int_equal(link_runtime_capacity(runtime, 1), 2);
	assert_int_equal(link_runtime_capacity(runtime, 2), 0);
	free(runtime);
	config_free(config);
}

static void test_no_capacity_stated_goes_by_weight(void **state)
{
	const uint32_t capacities[] = { 0, 0, 0 };
	struct bench *bench = bench_new(3, capacities);
	unsigned counts[3] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		link_runtime_set_weight(&bench->runtime, i, 3 - i);
	for (unsigned i = 0; i < 600; i++) {
		const unsigned link = pick(bench, 7);

		counts[link]++;
		load_add(&bench->load.steered[0], link, 1);
	}
	assert_int_equal(counts[0], 300);
	assert_int_equal(counts[1], 200);
	assert_int_equal(counts[2], 100);
	free(bench);
}

/* ---- ties ---- */

static void test_ties_go_by_capacity(void **state)
{
	const uint32_t capacities[] = { 300, 200, 100 };
	struct bench *bench = bench_new(3, capacities);
	unsigned counts[3] = { 0 };

	(void)state;
	set_sending(bench, 0, 5);
	set_sending(bench, 1, 3);
	set_sending(bench, 2, 1);
	/* each link is taken once for a hundred of its capacity, in every round */
	for (unsigned i = 1; i <= 600; i++) {
		counts[pick(bench, 7)]++;
		if (i % 6 == 0) {
			assert_int_equal(counts[0], i / 2);
			assert_int_equal(counts[1], i / 3);
			assert_int_equal(counts[2], i / 6);
		}
	}
	free(bench);
}

/* Half the square root of what is not reported cannot be told apart; more can */
static void test_noise_is_a_tie(void **state)
{
	const uint32_t capacities[] = { 100, 100 };
	struct bench *bench = bench_new(2, capacities);
	unsigned counts[2] = { 0 };

	(void)state;
	atomic_store(&bench->load.unreported, 100);
	set_sending(bench, 0, 50);
	set_sending(bench, 1, 55);
	for (unsigned i = 0; i < 100; i++)
		counts[pick(bench, 3)]++;
	assert_int_equal(counts[0], 50);
	assert_int_equal(counts[1], 50);
	set_sending(bench, 1, 56);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(pick(bench, 3), 0);
	atomic_store(&bench->load.unreported, UINT32_MAX);
	set_sending(bench, 1, 32000);
	counts[0] = counts[1] = 0;
	for (unsigned i = 0; i < 100; i++)
		counts[pick(bench, 3)]++;
	assert_int_equal(counts[0], 50);
	free(bench);
}

/* A stop that is seen before its start must not make a link look empty by four billion */
static void test_counts_below_zero_and_around(void **state)
{
	const uint32_t capacities[] = { 100, 100 };
	struct bench *bench = bench_new(2, capacities);

	(void)state;
	load_sub(&bench->load.followed, 0, 2);
	assert_int_equal(load_sending(&bench->load, 0), 0);
	set_sending(bench, 1, 1);
	assert_int_equal(pick(bench, 3), 0);
	/* counters run around */
	set(&bench->load.steered[0], 0, UINT32_MAX);
	set_sending(bench, 0, 4);
	assert_int_equal(load_sending(&bench->load, 0), 3);
	load_add(&bench->load.steered[0], 0, 2);
	assert_int_equal(load_sending(&bench->load, 0), 5);
	assert_int_equal(pick(bench, 3), 1);
	free(bench);
}

static void test_peek_says_what_pick_does(void **state)
{
	const uint32_t capacities[] = { 300, 200, 100 };
	struct bench *bench = bench_new(3, capacities);
	const struct sched_input input = {
		.slot = SLOT, .candidates = 7, .runtime = &bench->runtime, .load = &bench->load
	};

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		int64_t scores[CONFIG_MAX_LINKS];
		const unsigned expected = sched_peek(SCHED_LEAST_LOAD, bench->state[0], &input, scores);

		assert_int_equal(sched_peek(SCHED_LEAST_LOAD, bench->state[0], &input, scores), expected);
		for (unsigned link = 0; link < 3; link++)
			assert_int_equal(scores[link], -(int64_t)load_sending(&bench->load, link));
		assert_int_equal(pick(bench, 7), expected);
		load_add(&bench->load.steered[0], expected, 1);
	}
	free(bench);
}

/* ---- bursts ---- */

static const struct {
	unsigned n;
	uint32_t capacities[5];
} setups[] = {
	{ 2, { 2000, 2000 } },
	{ 2, { 3000, 1000 } },
	{ 3, { 5000, 3000, 2000 } },
	{ 4, { 1000, 1000, 1000, 1000 } },
	{ 5, { 700, 600, 500, 400, 300 } },
};

#define BURST 1000

static void check_shares(const struct bench *bench, unsigned setup, const uint32_t *before)
{
	uint32_t capacity = 0, all = 0;

	for (unsigned i = 0; i < setups[setup].n; i++) {
		capacity += setups[setup].capacities[i];
		all += load_sending(&bench->load, i);
	}
	for (unsigned i = 0; i < setups[setup].n; i++) {
		/* Its share of all that is there, so that an idle link may be filled up first. Who was picked had the least
		 * (flows + 1) / capacity, which is at most (all + links) / (all capacity); then it may also
		 * have been chosen by each other worker, that had not counted it yet. */
		const double share = (double)(all + setups[setup].n - 1) * setups[setup].capacities[i] / capacity;
		const uint32_t now = load_sending(&bench->load, i);

		if (now > share + bench->load.workers - 1 && now > before[i])
			fail_msg("setup %u, %u workers: link %u has %u flows, its share is %.1f", setup,
				 bench->load.workers, i, now, share);
	}
}

/* No stop is seen during the burst, and none before it is known to be missing */
static void test_burst_does_not_herd(void **state)
{
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		const unsigned setup = round % (sizeof(setups) / sizeof(*setups));
		struct bench *bench = bench_new(setups[setup].n, setups[setup].capacities);
		uint32_t before[CONFIG_MAX_LINKS] = { 0 };

		bench->load.workers = 1 + fixture_below(&seed, MAX_WORKERS);
		for (unsigned i = 0; round % 2 && i < setups[setup].n; i++) {
			before[i] = fixture_below(&seed, 50);
			set_sending(bench, i, before[i]);
		}
		for (unsigned i = 0; i < BURST; i++) {
			const unsigned worker = fixture_below(&seed, bench->load.workers);
			const unsigned link = pick_as(bench, worker, (UINT64_C(1) << setups[setup].n) - 1);

			load_add(&bench->load.steered[worker], link, 1);
		}
		check_shares(bench, setup, before);
		free(bench);
	}
}

struct runner {
	struct bench *bench;
	unsigned worker, n;
	uint64_t links;
};

static void *run_worker(void *argument)
{
	const struct runner *runner = argument;

	for (unsigned i = 0; i < runner->n; i++) {
		const unsigned link = pick_as(runner->bench, runner->worker, runner->links);

		load_add(&runner->bench->load.steered[runner->worker], link, 1);
	}
	return NULL;
}

/* The same at once. Whatever the threads' timing: the pick of a link that looked last has
 * seen all its flows but those that workers had chosen and not counted yet, one each. */
static void test_burst_of_threads_does_not_herd(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		const unsigned setup = round % (sizeof(setups) / sizeof(*setups));
		const uint32_t before[CONFIG_MAX_LINKS] = { 0 };
		struct bench *bench = bench_new(setups[setup].n, setups[setup].capacities);
		pthread_t threads[4];
		struct runner runners[4];

		bench->load.workers = 4;
		for (unsigned i = 0; i < 4; i++) {
			runners[i] = (struct runner){ bench, i, BURST / 4, (UINT64_C(1) << setups[setup].n) - 1 };
			assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &runners[i]), 0);
		}
		for (unsigned i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		check_shares(bench, setup, before);
		free(bench);
	}
}

/* ---- decide() counts ---- */

static void test_decide_counts_new_flows_once(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct fixture *fixture = fixture_new(config);
	struct load *load = aligned_alloc(_Alignof(struct load), sizeof(*load));
	uint32_t sum = 0;

	(void)state;
	assert_non_null(load);
	memset(load, 0, sizeof(*load));
	load->workers = 3;
	fixture->decider.load = load;
	fixture->decider.worker = 2;
	for (uint16_t i = 0; i < 10; i++) {
		const struct flow flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, (uint16_t)(2000 + i), 443);

		/* the retransmitted SYN is the same flow */
		for (unsigned j = 0; j < 3; j++)
			assert_int_equal(decide(&fixture->decider, &flow, &fixture_waiting, 5000 + j).action,
					 DECISION_LINK);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(load_sending(load, i), atomic_load(&load->steered[2].flows[i]));
		sum += load_sending(load, i);
	}
	assert_int_equal(sum, 10);
	/* looking does not count, nor does a flow that no link takes */
	const struct flow flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, 3000, 443);
	int64_t scores[CONFIG_MAX_LINKS];
	uint64_t age;

	decide_peek(&fixture->decider, &flow, &fixture_waiting, 6000, scores, &age);
	fixture_usable(fixture, 0);
	assert_int_equal(decide(&fixture->decider, &flow, &fixture_waiting, 6000).action, DECISION_NONE);
	for (unsigned i = 0; i < 3; i++)
		sum -= load_sending(load, i);
	assert_int_equal(sum, 0);
	free(load);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minimum_exact),
		cmocka_unit_test(test_minimum_huge_and_tiny),
		cmocka_unit_test(test_tiny_beside_huge),
		cmocka_unit_test(test_weight_scales_capacity),
		cmocka_unit_test(test_unstated_capacity_is_an_average_one),
		cmocka_unit_test(test_slow_link_has_stated_its_capacity),
		cmocka_unit_test(test_no_capacity_stated_goes_by_weight),
		cmocka_unit_test(test_ties_go_by_capacity),
		cmocka_unit_test(test_noise_is_a_tie),
		cmocka_unit_test(test_counts_below_zero_and_around),
		cmocka_unit_test(test_peek_says_what_pick_does),
		cmocka_unit_test(test_burst_does_not_herd),
		cmocka_unit_test(test_burst_of_threads_does_not_herd),
		cmocka_unit_test(test_decide_counts_new_flows_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
