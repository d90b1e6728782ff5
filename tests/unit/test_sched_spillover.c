/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched_spillover.c - the schedulers that go by what was measured
 */
#include "tests/unit/fixture.h"

#include "policy/sched.h"

#define MBIT UINT64_C(1000000)
#define WORKERS 4

struct bench {
	struct link_runtime runtime;
	struct load load;
	struct group_config group;
	struct sched_state state[WORKERS];
};

/* Three links of 20 Mbit/s, listed as 1, 2, 0, loaded from 80 % on */
static struct bench *bench_new(void)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));

	assert_non_null(bench);
	memset(bench, 0, sizeof(*bench));
	bench->load.workers = 1;
	bench->group = (struct group_config){ .rank = { 2, 0, 1 }, .spill_at = 80 };
	for (unsigned i = 0; i < 3; i++) {
		link_runtime_set_weight(&bench->runtime, i, 1);
		link_runtime_set_capacity(&bench->runtime, i, 2000);
	}
	return bench;
}

/* What the control thread writes once a second */
static void sample(struct bench *bench, unsigned link, uint64_t bits)
{
	atomic_store(&bench->runtime.bits_down[link], bits);
	atomic_store(&bench->runtime.sending[link], load_sending(&bench->load, link));
}

static struct sched_input input_of(const struct bench *bench, uint64_t candidates)
{
	return (struct sched_input){
		.slot = 3,
		.candidates = candidates,
		.runtime = &bench->runtime,
		.load = &bench->load,
		.group = &bench->group,
	};
}

static unsigned pick(struct bench *bench, enum scheduler scheduler, unsigned worker, uint64_t candidates)
{
	const struct sched_input input = input_of(bench, candidates);
	int64_t scores[CONFIG_MAX_LINKS];
	const unsigned expected = sched_peek(scheduler, &bench->state[worker], &input, scores);
	const unsigned link = sched_pick(scheduler, &bench->state[worker], &input);

	assert_int_equal(link, expected);
	return link;
}

static unsigned spill(struct bench *bench, uint64_t candidates)
{
	return pick(bench, SCHED_SPILLOVER, 0, candidates);
}

/* Pick and count, as decide() does */
static void steer(struct bench *bench, enum scheduler scheduler, unsigned n, unsigned counts[3])
{
	for (unsigned i = 0; i < n; i++) {
		const unsigned worker = i % bench->load.workers;
		const unsigned link = pick(bench, scheduler, worker, 7);

		load_add(&bench->load.steered[worker], link, 1);
		counts[link]++;
	}
}

/* ---- spillover ---- */

static void test_fills_in_the_order_listed(void **state)
{
	struct bench *bench = bench_new();

	(void)state;
	assert_int_equal(spill(bench, 7), 1);
	assert_int_equal(spill(bench, 5), 2);
	assert_int_equal(spill(bench, 1), 0);
	sample(bench, 1, 16 * MBIT - 1);
	assert_int_equal(spill(bench, 7), 1);
	sample(bench, 1, 16 * MBIT); /* 80 % of 20 Mbit/s */
	assert_int_equal(spill(bench, 7), 2);
	sample(bench, 2, 30 * MBIT);
	assert_int_equal(spill(bench, 7), 0);
	sample(bench, 1, 15 * MBIT);
	assert_int_equal(spill(bench, 7), 1);
	bench->group.spill_at = 50;
	assert_int_equal(spill(bench, 7), 0);
	free(bench);
}

static void test_all_loaded_is_least_load(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	atomic_store(&bench->load.followed.flows[1], 5);
	for (unsigned i = 0; i < 3; i++)
		sample(bench, i, 20 * MBIT);
	steer(bench, SCHED_SPILLOVER, 25, counts);
	assert_int_equal(counts[1], 5);
	assert_int_equal(counts[0] + counts[2], 20);
	free(bench);
}

static void test_no_capacity_is_never_loaded(void **state)
{
	struct bench *bench = bench_new();

	(void)state;
	link_runtime_set_capacity(&bench->runtime, 1, 0);
	sample(bench, 1, UINT64_MAX);
	assert_int_equal(spill(bench, 7), 1);
	/* a counter gone wild is a loaded link, not an overflow */
	sample(bench, 2, UINT64_MAX);
	load_add(&bench->load.steered[0], 2, 1);
	assert_int_equal(spill(bench, 5), 0);
	free(bench);
}

/* Flows since the sample are taken for average ones: 10 made 8 Mbit/s, so 10 more make 16 */
static void test_flows_since_the_sample_count(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	atomic_store(&bench->load.followed.flows[1], 10);
	sample(bench, 1, 8 * MBIT);
	steer(bench, SCHED_SPILLOVER, 11, counts);
	assert_int_equal(counts[1], 10);
	assert_int_equal(counts[2], 1);
	/* half of all are gone: room again */
	load_sub(&bench->load.followed, 1, 10);
	assert_int_equal(spill(bench, 7), 1);
	/* came and went is nothing: room for ten as before */
	counts[1] = 0;
	for (unsigned i = 0; i < 1000; i++) {
		steer(bench, SCHED_SPILLOVER, 1, counts);
		load_sub(&bench->load.followed, 1, 1);
	}
	assert_int_equal(counts[1], 1000);
	free(bench);
}

static void test_loaded_link_gets_room_when_flows_stop(void **state)
{
	struct bench *bench = bench_new();

	(void)state;
	atomic_store(&bench->load.followed.flows[1], 20);
	sample(bench, 1, 18 * MBIT);
	assert_int_equal(spill(bench, 7), 2);
	load_sub(&bench->load.followed, 1, 2); /* 0.9 Mbit/s each: 16.2 are left */
	assert_int_equal(spill(bench, 7), 2);
	load_sub(&bench->load.followed, 1, 1);
	assert_int_equal(spill(bench, 7), 1);
	free(bench);
}

/* A thousand between two samples: none of the links is filled beyond a hundred, whatever was measured before */
static void test_burst_between_samples(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= WORKERS; workers++) {
		for (unsigned busy = 0; busy < 2; busy++) {
			struct bench *bench = bench_new();
			unsigned counts[3] = { 0 };

			bench->load.workers = workers;
			/* 100 flows that hardly send say nothing about the next ones */
			atomic_store(&bench->load.followed.flows[1], busy ? 100 : 0);
			sample(bench, 1, busy ? MBIT / 10 : 0);
			steer(bench, SCHED_SPILLOVER, 300, counts);
			assert_in_range(counts[1], 99, 100);
			assert_in_range(counts[2], 100, 100);
			assert_in_range(counts[0], 100, 101);
			/* then by least-load: nobody gets more than a share */
			steer(bench, SCHED_SPILLOVER, 700, counts);
			for (unsigned i = 0; i < 3; i++)
				assert_true(load_sending(&bench->load, i) <= (1000 + 100 * busy) / 3 + 1 + workers);
			free(bench);
		}
	}
}

/* ---- latency ---- */

static void set_rtt(struct bench *bench, uint32_t a, uint32_t b, uint32_t c)
{
	atomic_store(&bench->runtime.rtt_us[0], a);
	atomic_store(&bench->runtime.rtt_us[1], b);
	atomic_store(&bench->runtime.rtt_us[2], c);
}

static void test_lowest_round_trip(void **state)
{
	struct bench *bench = bench_new();

	(void)state;
	set_rtt(bench, 30000, 20000, 25000);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 1);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 5), 2);
	sample(bench, 1, 16 * MBIT);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 2); /* loaded */
	sample(bench, 2, 16 * MBIT);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 0);
	sample(bench, 0, 16 * MBIT);
	atomic_store(&bench->load.followed.flows[0], 3);
	atomic_store(&bench->load.followed.flows[1], 1);
	atomic_store(&bench->load.followed.flows[2], 2);
	for (unsigned i = 0; i < 3; i++)
		sample(bench, i, 16 * MBIT);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 1); /* all: the least load */
	free(bench);
}

static void test_a_tenth_is_a_tie(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_rtt(bench, 20000, 21999, 22000);
	steer(bench, SCHED_LATENCY, 60, counts);
	assert_int_equal(counts[0], 30);
	assert_int_equal(counts[1], 30);
	set_rtt(bench, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 2); /* the largest does not overflow: all tie, least load */
	free(bench);
}

static void test_unknown_is_tried_once(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_rtt(bench, 20000, 0, 0);
	steer(bench, SCHED_LATENCY, 40, counts);
	assert_int_equal(counts[0], 38);
	assert_int_equal(counts[1], 1);
	assert_int_equal(counts[2], 1);
	free(bench);
}

/* A link once slow is measured again, though seldom: one flow in 64 */
static void test_every_link_is_measured_again(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_rtt(bench, 20000, 50000, 50000);
	for (unsigned i = 0; i < 6400; i++) {
		unsigned now[3] = { 0 };

		steer(bench, SCHED_LATENCY, 1, now);
		for (unsigned link = 0; link < 3; link++)
			counts[link] += now[link];
		if (i % 50 == 49) /* a sample: the traffic is small, the links have room */
			for (unsigned link = 0; link < 3; link++)
				sample(bench, link, MBIT);
	}
	assert_int_equal(counts[0], 6300);
	assert_in_range(counts[1], 49, 51);
	assert_in_range(counts[2], 49, 51);
	free(bench);
}

/* ---- through decide() ---- */

static void test_decide_hands_over_the_group(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct load *load = aligned_alloc(_Alignof(struct load), sizeof(*load));
	struct fixture *fixture;

	(void)state;
	assert_non_null(load);
	memset(load, 0, sizeof(*load));
	load->workers = 1;
	config->groups[0].scheduler = SCHED_SPILLOVER;
	config->groups[0].spill_at = 50;
	config->groups[0].rank[0] = 1;
	config->groups[0].rank[2] = 2;
	for (unsigned i = 0; i < 3; i++)
		config->links[i].download = 20 * MBIT;
	fixture = fixture_new(config);
	fixture->decider.load = load;
	for (uint16_t i = 0; i < 30; i++) {
		const struct flow flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, (uint16_t)(2000 + i), 443);
		const uint64_t bits = i < 10 ? 0 : 10 * MBIT;

		atomic_store(&fixture->runtime.bits_down[1], bits);
		atomic_store(&fixture->runtime.bits_down[0], i < 20 ? 0 : bits);
		assert_int_equal(decide(&fixture->decider, &flow, &fixture_waiting, 5000).link, i < 10	 ? 1
												: i < 20 ? 0
													 : 2);
	}
	free(load);
	fixture_free(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fills_in_the_order_listed),
		cmocka_unit_test(test_all_loaded_is_least_load),
		cmocka_unit_test(test_no_capacity_is_never_loaded),
		cmocka_unit_test(test_flows_since_the_sample_count),
		cmocka_unit_test(test_loaded_link_gets_room_when_flows_stop),
		cmocka_unit_test(test_burst_between_samples),
		cmocka_unit_test(test_lowest_round_trip),
		cmocka_unit_test(test_a_tenth_is_a_tie),
		cmocka_unit_test(test_unknown_is_tried_once),
		cmocka_unit_test(test_every_link_is_measured_again),
		cmocka_unit_test(test_decide_hands_over_the_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
