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
	struct sched_state *state[WORKERS];
};

/* Three links of 20 Mbit/s, listed as 1, 2, 0, loaded from 80 % on */
static struct bench *bench_new(void)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));

	assert_non_null(bench);
	memset(bench, 0, sizeof(*bench));
	bench->load.workers = 1;
	bench->group = (struct group_config){ .rank = { 2, 0, 1 }, .spill_at = 80 };
	for (unsigned i = 0; i < WORKERS; i++) {
		bench->state[i] = calloc(1, sizeof(*bench->state[i]));
		assert_non_null(bench->state[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		link_runtime_set_weight(&bench->runtime, i, 1);
		link_runtime_set_capacity(&bench->runtime, i, 2000);
	}
	return bench;
}

static void bench_free(struct bench *bench)
{
	for (unsigned i = 0; i < WORKERS; i++)
		free(bench->state[i]);
	free(bench);
}

static void set_sending(struct bench *bench, unsigned link, uint32_t flows)
{
	struct load_counts *counts = &bench->load.followed;

	load_add(counts, link, flows - atomic_load(&counts->flows[link]));
}

/* A reload brings another group_config and states all capacities */
static void spill_at(struct bench *bench, uint8_t percent)
{
	bench->group.spill_at = percent;
	link_runtime_set_capacity(&bench->runtime, 0, link_runtime_capacity(&bench->runtime, 0));
}

/* What the control thread writes once a second */
static void sample(struct bench *bench, unsigned link, uint64_t bits)
{
	const struct link_measured measured = {
		.rtt_us = link_runtime_measured(&bench->runtime, link).rtt_us,
		.bits_down = bits,
		.sending = load_sending(&bench->load, link),
	};

	link_runtime_set_measured(&bench->runtime, link, &measured);
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
	const unsigned expected = sched_peek(scheduler, bench->state[worker], &input, scores);
	const unsigned link = sched_pick(scheduler, bench->state[worker], &input);

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
	spill_at(bench, 50);
	assert_int_equal(spill(bench, 7), 0);
	bench_free(bench);
}

/* Another threshold is another answer, whatever else is still as it was */
static void test_another_group(void **state)
{
	struct bench *bench = bench_new();
	const struct group_config other = { .rank = { 0, 1, 2 }, .spill_at = 20 };
	struct sched_input input = input_of(bench, 7);

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		sample(bench, i, 5 * MBIT);
	assert_int_equal(sched_pick(SCHED_SPILLOVER, bench->state[0], &input), 1);
	input.group = &other;
	assert_int_equal(sched_pick(SCHED_SPILLOVER, bench->state[0], &input), 2);
	input.group = &bench->group;
	assert_int_equal(sched_pick(SCHED_SPILLOVER, bench->state[0], &input), 1);
	bench_free(bench);
}

static void test_all_loaded_is_least_load(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_sending(bench, 1, 5);
	for (unsigned i = 0; i < 3; i++)
		sample(bench, i, 20 * MBIT);
	steer(bench, SCHED_SPILLOVER, 25, counts);
	assert_int_equal(counts[1], 5);
	assert_int_equal(counts[0] + counts[2], 20);
	bench_free(bench);
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
	bench_free(bench);
}

/* Flows since the sample are taken for average ones: 10 made 8 Mbit/s, so 10 more make 16 */
static void test_flows_since_the_sample_count(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_sending(bench, 1, 10);
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
	bench_free(bench);
}

static void test_loaded_link_gets_room_when_flows_stop(void **state)
{
	struct bench *bench = bench_new();

	(void)state;
	set_sending(bench, 1, 20);
	sample(bench, 1, 18 * MBIT);
	assert_int_equal(spill(bench, 7), 2);
	load_sub(&bench->load.followed, 1, 2); /* 0.9 Mbit/s each: 16.2 are left */
	assert_int_equal(spill(bench, 7), 2);
	load_sub(&bench->load.followed, 1, 1);
	assert_int_equal(spill(bench, 7), 1);
	bench_free(bench);
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
			set_sending(bench, 1, busy ? 100 : 0);
			sample(bench, 1, busy ? MBIT / 10 : 0);
			steer(bench, SCHED_SPILLOVER, 300, counts);
			assert_in_range(counts[1], 99, 100);
			assert_in_range(counts[2], 100, 100);
			assert_in_range(counts[0], 100, 101);
			/* then by least-load: nobody gets more than a share */
			steer(bench, SCHED_SPILLOVER, 700, counts);
			for (unsigned i = 0; i < 3; i++)
				assert_true(load_sending(&bench->load, i) <= (1000 + 100 * busy) / 3 + 1 + workers);
			bench_free(bench);
		}
	}
}

/* bit/s through the link now, by the definition: each flow since the sample is an average one, a new one
 * at least a hundredth of what the link may fill, and no more than a hundred new ones count */
static uint64_t traffic(const struct bench *bench, unsigned link, uint64_t full)
{
	const struct link_measured then = link_runtime_measured(&bench->runtime, link);
	const uint32_t now = load_sending(&bench->load, link);
	uint64_t each = then.sending ? then.bits_down / then.sending : 0;

	if (now <= then.sending)
		return then.bits_down - each * (then.sending - now);
	if (each < (full + 99) / 100)
		each = (full + 99) / 100;
	return then.bits_down + each * (now - then.sending < 100 ? now - then.sending : 100);
}

static unsigned first_by_definition(const struct bench *bench, unsigned none)
{
	static const unsigned order[] = { 1, 2, 0 };

	for (unsigned i = 0; i < 3; i++) {
		const uint64_t capacity = link_runtime_capacity(&bench->runtime, order[i]);
		const uint64_t full = capacity * 100 * bench->group.spill_at;

		if (!capacity || traffic(bench, order[i], full) < full)
			return order[i];
	}
	return none;
}

static void test_as_by_definition(void **state)
{
	uint64_t random = fixture_seed();
	struct bench *bench = bench_new();
	unsigned spilled = 0, rounds = 60000;

	(void)state;
	for (unsigned round = 0; round < rounds; round++) {
		const unsigned link = fixture_below(&random, 3);
		const enum scheduler other = fixture_below(&random, 2) ? SCHED_LEAST_LOAD : SCHED_LATENCY;
		unsigned picked;

		if (!fixture_below(&random, 8))
			sample(bench, link, fixture_below(&random, 9) * 3 * MBIT + fixture_below(&random, 3));
		if (!fixture_below(&random, 40))
			link_runtime_set_capacity(&bench->runtime, link, fixture_below(&random, 5) * 1000);
		if (!fixture_below(&random, 100))
			spill_at(bench, (uint8_t)(1 + fixture_below(&random, 100)));
		set_sending(bench, link, fixture_below(&random, fixture_below(&random, 2) ? 5 : 300));
		if (!fixture_below(&random, 20)) /* the same line-up serves another scheduler */
			pick(bench, other, 0, 7);
		picked = spill(bench, 7);
		assert_int_equal(picked, first_by_definition(bench, picked));
		spilled += picked != 1;
	}
	assert_in_range(spilled, rounds / 10, rounds - rounds / 10);
	bench_free(bench);
}

/* ---- latency ---- */

static void set_rtt(struct bench *bench, uint32_t a, uint32_t b, uint32_t c)
{
	const uint32_t rtt_us[] = { a, b, c };

	for (unsigned i = 0; i < 3; i++) {
		struct link_measured measured = link_runtime_measured(&bench->runtime, i);

		measured.rtt_us = rtt_us[i];
		link_runtime_set_measured(&bench->runtime, i, &measured);
	}
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
	set_sending(bench, 0, 3);
	set_sending(bench, 1, 1);
	set_sending(bench, 2, 2);
	for (unsigned i = 0; i < 3; i++)
		sample(bench, i, 16 * MBIT);
	assert_int_equal(pick(bench, SCHED_LATENCY, 0, 7), 1); /* all: the least load */
	bench_free(bench);
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
	bench_free(bench);
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
	bench_free(bench);
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
	bench_free(bench);
}

/* But not one that is loaded, be it the emptiest by its flows */
static void test_a_loaded_link_is_not_measured(void **state)
{
	struct bench *bench = bench_new();
	unsigned counts[3] = { 0 };

	(void)state;
	set_rtt(bench, 20000, 50000, 50000);
	set_sending(bench, 0, 900);
	set_sending(bench, 2, 100);
	sample(bench, 0, 0);
	sample(bench, 1, 20 * MBIT);
	sample(bench, 2, 0);
	for (unsigned i = 0; i < 10; i++) {
		steer(bench, SCHED_LATENCY, 64, counts);
		sample(bench, 0, 0);
	}
	assert_int_equal(counts[0], 630);
	assert_int_equal(counts[1], 0);
	assert_int_equal(counts[2], 10);
	bench_free(bench);
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

		link_runtime_set_measured(&fixture->runtime, 1, &(struct link_measured){ .bits_down = bits });
		link_runtime_set_measured(&fixture->runtime, 0,
					  &(struct link_measured){ .bits_down = i < 20 ? 0 : bits });
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
		cmocka_unit_test(test_another_group),
		cmocka_unit_test(test_all_loaded_is_least_load),
		cmocka_unit_test(test_no_capacity_is_never_loaded),
		cmocka_unit_test(test_flows_since_the_sample_count),
		cmocka_unit_test(test_loaded_link_gets_room_when_flows_stop),
		cmocka_unit_test(test_burst_between_samples),
		cmocka_unit_test(test_as_by_definition),
		cmocka_unit_test(test_lowest_round_trip),
		cmocka_unit_test(test_a_tenth_is_a_tie),
		cmocka_unit_test(test_unknown_is_tried_once),
		cmocka_unit_test(test_every_link_is_measured_again),
		cmocka_unit_test(test_a_loaded_link_is_not_measured),
		cmocka_unit_test(test_decide_hands_over_the_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
