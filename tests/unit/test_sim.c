/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sim.c - the simulator against theory, by hand, and against itself
 *
 * On one processor-sharing link the mean slowdown is 1 / (1 - load), whatever the
 * sizes' distribution (Kleinrock 1976, 4.4). A run's mean is itself random; with K
 * runs its standard error is their deviation / sqrt(K). A result further than four
 * of these from theory (one seed in 16,000) or an error of more than 3 % (too few
 * flows to say anything) fails.
 */
#include "tests/unit/fixture.h"

#include <math.h>

#include "bench/sim.h"
/* they belong to a program, not to a library */
#include "bench/sim.c" /* NOLINT(bugprone-suspicious-include) */
#include "bench/sim_choose.c" /* NOLINT(bugprone-suspicious-include) */
#include "bench/sim_report.c" /* NOLINT(bugprone-suspicious-include) */

#define RATE 1000000.0 /* bytes/s of the usual link */
#define MEAN 10000.0 /* bytes of a flow */

static struct policy *links(unsigned n, const uint64_t *bits)
{
	struct config *config = fixture_empty();
	struct policy *policy;

	for (unsigned i = 0; i < n; i++)
		fixture_link(config, i + 1, 1)->download = bits[i];
	fixture_group(config, STICKY_NONE)->spill_at = 80;
	config->sticky_entries = 64;
	fixture_rule(config, RULE_GROUP, 0);
	policy = policy_compile(config);
	assert_non_null(policy);
	return policy;
}

static const uint64_t one[] = { 8000000 };
static const uint64_t two[] = { 4000000, 4000000 };
static const uint64_t uneven[] = { 6000000, 2000000 };

/* ---- flows ---- */

typedef double (*draw)(uint64_t *seed);

static double uniform(uint64_t *seed)
{
	return (double)(fixture_random(seed) >> 11) * 0x1p-53;
}

static double exponential(uint64_t *seed)
{
	return -log1p(-uniform(seed));
}

/* Nine small ones for a large one, mean 1 */
static double mice_and_elephants(uint64_t *seed)
{
	return uniform(seed) < 0.9 ? 0.1 : 9.1;
}

static void draw_arrivals(struct sim_flow *flows, size_t n, double load, draw size, uint64_t seed)
{
	double now = 0;

	for (size_t i = 0; i < n; i++) {
		now += exponential(&seed) * MEAN / RATE / load;
		flows[i] = (struct sim_flow){
			.flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, (uint16_t)i, 443),
			.arrival = now,
			.bytes = MEAN * size(&seed),
		};
		flows[i].flow.src.b[13] = (uint8_t)(i >> 16);
	}
}

static struct sim_result simulate(const struct policy *policy, enum sim_contender contender, uint64_t seed,
				  double delay, const struct sim_flow *flows, size_t n)
{
	const struct sim_setting setting = { .policy = policy, .delay = delay, .seed = seed };
	struct sim_result result;

	assert_true(sim_run(&setting, contender, flows, n, &result));
	return result;
}

/* ---- theory ---- */

#define RUNS 25
#define FLOWS 20000

static void check_theory(const struct policy *policy, enum sim_contender contender, double load, draw size)
{
	struct sim_flow *flows = fixture_zeroed(FLOWS, sizeof(*flows));
	const double theory = 1 / (1 - load);
	uint64_t seed = fixture_seed();
	double sum = 0, squares = 0;

	for (unsigned i = 0; i < RUNS; i++) {
		draw_arrivals(flows, FLOWS, load, size, fixture_random(&seed));
		const double mean = simulate(policy, contender, i, 0.01, flows, FLOWS).mean;

		sum += mean;
		squares += mean * mean;
	}
	const double mean = sum / RUNS, error = sqrt((squares / RUNS - mean * mean) / (RUNS - 1));

	print_message("load %.2f: mean slowdown %.3f +- %.3f, in theory %.3f\n", load, mean, error, theory);
	assert_true(error < 0.03 * theory);
	assert_true(fabs(mean - theory) < 4 * error);
	free(flows);
}

static void test_one_link_is_as_in_theory(void **state)
{
	struct policy *policy = links(1, one);

	(void)state;
	check_theory(policy, SIM_LEAST_LOAD, 0.5, exponential);
	check_theory(policy, SIM_LEAST_LOAD, 0.7, exponential);
	check_theory(policy, SIM_LEAST_LOAD, 0.8, exponential);
	check_theory(policy, SIM_LEAST_LOAD, 0.7, mice_and_elephants);
	policy_free(policy);
}

/* However the capacity is cut up */
static void test_pooled_links_are_as_in_theory(void **state)
{
	struct policy *policy = links(2, uneven);

	(void)state;
	check_theory(policy, SIM_POOLED, 0.6, exponential);
	policy_free(policy);
}

/* ---- by hand ---- */

static void test_two_flows_by_hand(void **state)
{
	/* the first is alone for a second, then both share: both leave at 3 s */
	struct sim_flow flows[] = { { .arrival = 0, .bytes = 2 * RATE }, { .arrival = 1, .bytes = RATE } };
	struct policy *policy = links(1, one);
	struct sim_result result;

	(void)state;
	flows[0].flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, 1, 443);
	flows[1].flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, 2, 443);
	result = simulate(policy, SIM_LEAST_LOAD, 0, 0.01, flows, 2);
	assert_true(fabs(result.mean - (1.5 + 2.0) / 2) < 1e-9);
	assert_true(fabs(result.p99 - 2.0) < 1e-9);
	assert_true(fabs(result.seconds - 3) < 1e-9);
	policy_free(policy);

	/* on two links of half the capacity each has its own: 4 s and 2 s */
	policy = links(2, two);
	result = simulate(policy, SIM_LEAST_LOAD, 0, 0.01, flows, 2);
	assert_int_equal(result.flows[0], 1);
	assert_int_equal(result.flows[1], 1);
	assert_true(fabs(result.mean - 2.0) < 1e-9);
	assert_true(fabs(result.seconds - 4) < 1e-9);
	policy_free(policy);
}

/* ---- what must hold for every contender ---- */

#define MANY 10000

static void test_bytes_are_conserved(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, uneven);
	double bytes = 0;

	(void)state;
	draw_arrivals(flows, MANY, 0.85, mice_and_elephants, fixture_seed());
	for (size_t i = 0; i < MANY; i++)
		bytes += flows[i].bytes;
	for (int c = 0; c < SIM_CONTENDERS; c++) {
		const struct sim_setting setting = { .policy = policy, .delay = 0.01, .seed = 1 };
		struct sim *sim = fixture_zeroed(1, sizeof(*sim));
		struct sim_result result = { .mean = 0 };
		uint64_t chosen = 0;
		double served = 0;

		sim->flows = flows;
		sim->out = &result;
		sim->slowdown = fixture_zeroed(MANY, sizeof(*sim->slowdown));
		sim->entries_until = fixture_zeroed(MANY, sizeof(*sim->entries_until));
		sim->guessed = fixture_zeroed(MANY, sizeof(*sim->guessed));
		assert_true(sim_open(sim, &setting, (enum sim_contender)c));
		assert_true(run(sim, MANY));
		for (unsigned i = 0; i < sim->n_links; i++) {
			/* each link has sent what it was given, and nothing waits */
			assert_true(fabs(sim->links[i].sent - result.bytes[i]) < 1e-6 * bytes);
			assert_int_equal(sim->links[i].present.n, 0);
			assert_true(result.bytes[i] <= sim->links[i].rate * sim->now);
			chosen += result.flows[i];
			served += sim->links[i].sent;
		}
		assert_int_equal(chosen, MANY);
		assert_true(fabs(served - bytes) < 1e-6 * bytes);
		for (size_t i = 0; i < MANY; i++)
			assert_true(sim->slowdown[i] > 1 - 1e-6); /* nobody is faster than alone on all of it */
		sim_close(sim);
	}
	policy_free(policy);
	free(flows);
}

static void test_bounds_are_bounds(void **state)
{
	static double mean[SIM_CONTENDERS];
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	const uint64_t *const kinds[] = { two, uneven };
	uint64_t seed = fixture_seed();

	(void)state;
	for (unsigned kind = 0; kind < 2; kind++) {
		struct policy *policy = links(2, kinds[kind]);

		memset(mean, 0, sizeof(mean));
		for (unsigned i = 0; i < 10; i++) {
			draw_arrivals(flows, MANY, 0.85, exponential, fixture_random(&seed));
			for (int c = 0; c < SIM_CONTENDERS; c++)
				mean[c] += simulate(policy, (enum sim_contender)c, i, 0.1, flows, MANY).mean;
		}
		for (int c = SIM_LEAST_LOAD; c < SIM_CONTENDERS; c++) {
			assert_true(mean[SIM_POOLED] <= mean[c]);
			assert_true(mean[SIM_PERFECT] <= mean[c] || c == SIM_POOLED);
		}
		policy_free(policy);
	}
	free(flows);
}

static void test_same_seed_same_result(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, two);

	(void)state;
	draw_arrivals(flows, MANY, 0.85, exponential, fixture_seed());
	for (int c = 0; c < SIM_CONTENDERS; c++) {
		const struct sim_result a = simulate(policy, (enum sim_contender)c, 7, 0.01, flows, MANY);
		const struct sim_result b = simulate(policy, (enum sim_contender)c, 7, 0.01, flows, MANY);

		assert_memory_equal(&a, &b, sizeof(a));
	}
	assert_true(fabs(simulate(policy, SIM_RANDOM, 7, 0.01, flows, MANY).mean -
			 simulate(policy, SIM_RANDOM, 8, 0.01, flows, MANY).mean) > 0);
	policy_free(policy);
	free(flows);
}

/* Perfect knowledge is least-load whose counts are never late; late ones cost */
static void test_delay_is_what_parts_least_load_from_perfect(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, two);
	struct sim_result perfect, least;

	(void)state;
	draw_arrivals(flows, MANY, 0.85, exponential, fixture_seed());
	perfect = simulate(policy, SIM_PERFECT, 7, 0.5, flows, MANY);
	least = simulate(policy, SIM_LEAST_LOAD, 7, 0, flows, MANY);
	assert_memory_equal(&perfect, &least, sizeof(least));
	least = simulate(policy, SIM_LEAST_LOAD, 7, 0.5, flows, MANY);
	assert_true(least.mean > 1.05 * perfect.mean);
	policy_free(policy);
	free(flows);
}

static struct sim_result simulate_hidden(const struct policy *policy, bool learn, double share, double time,
					 const struct sim_flow *flows)
{
	const struct sim_setting setting = {
		.policy = policy, .delay = 0.01, .learn_lifetimes = learn, .idle_share = share, .idle_time = time
	};
	struct sim_result result;

	assert_true(sim_run(&setting, SIM_LEAST_LOAD, flows, MANY, &result));
	return result;
}

/* Connections that stay open after their last byte count as sending: that costs */
static void test_idle_connections_cost(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, two);

	(void)state;
	draw_arrivals(flows, MANY, 0.85, exponential, fixture_seed());
	const struct sim_result plain = simulate_hidden(policy, false, 0, 0, flows);
	const struct sim_result none = simulate_hidden(policy, true, 0, 5, flows);
	const struct sim_result at_once = simulate_hidden(policy, false, 1, 0, flows);
	const struct sim_result some = simulate_hidden(policy, false, 0.3, 5, flows);

	assert_memory_equal(&plain, &none, sizeof(plain)); /* nor do TCP flows need lifetimes */
	assert_memory_equal(&plain, &at_once, sizeof(plain));
	assert_true(some.mean > 1.1 * plain.mean);
	policy_free(policy);
	free(flows);
}

/* Datagrams: the end of exchanges is known as well as TCP's, that of others only by their class */
static void test_learnt_lifetimes_cost(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, two);

	(void)state;
	draw_arrivals(flows, MANY, 0.85, exponential, fixture_seed());
	const struct sim_result plain = simulate_hidden(policy, false, 0, 0, flows);

	for (size_t i = 0; i < MANY; i++) {
		flows[i].flow.protocol = 17;
		flows[i].flow.dport = 53;
		flows[i].packets[0] = flows[i].packets[1] = 1;
	}
	const struct sim_result exchanges = simulate_hidden(policy, true, 0, 0, flows);

	for (size_t i = 0; i < MANY; i++) {
		flows[i].flow.dport = 443;
		flows[i].packets[0] = flows[i].packets[1] = 9;
	}
	const struct sim_result streams = simulate_hidden(policy, true, 0, 0, flows);
	const struct sim_result turns = simulate(policy, SIM_NTH, 0, 0.01, flows, MANY);

	assert_memory_equal(&plain, &exchanges, sizeof(plain));
	assert_true(streams.mean > 1.01 * plain.mean);
	assert_true(streams.mean < turns.mean); /* and yet better than no knowledge */
	policy_free(policy);
	free(flows);
}

static void add_second(void *context, const struct sim_second *second)
{
	double *sum = context; /* seconds, bytes */

	assert_int_equal(second->number, (uint64_t)sum[0]);
	sum[0] += 1;
	for (unsigned i = 0; i < 2; i++) {
		assert_true(second->bytes[i] <= RATE / 2 * (1 + 1e-9));
		assert_true(second->bytes[i] > 0 || !second->present[i]);
		sum[1] += second->bytes[i];
	}
}

static void count_second(void *context, const struct sim_second *second)
{
	uint64_t *seen = context; /* how many, the last */

	assert_true(second->number > seen[1] || !seen[0]);
	seen[0]++;
	seen[1] = second->number;
}

/* A capture whose clock was wrong once must not make a table of a million million lines */
static void test_empty_seconds_are_left_out(void **state)
{
	const double year = 365 * 86400;
	struct sim_flow flows[] = { { .arrival = 0.5, .bytes = RATE }, { .arrival = year, .bytes = RATE } };
	struct policy *policy = links(1, one);
	uint64_t seen[2] = { 0 };
	const struct sim_setting setting = { .policy = policy, .second = count_second, .context = seen };
	struct sim_result result;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		flows[i].flow = fixture_flow("192.0.2.7", "198.51.100.9", 6, (uint16_t)i, 443);
	assert_true(sim_run(&setting, SIM_LEAST_LOAD, flows, 2, &result));
	assert_int_equal(seen[0], 3);
	assert_int_equal(seen[1], (uint64_t)year);
	policy_free(policy);
}

static void test_seconds_add_up(void **state)
{
	struct sim_flow *flows = fixture_zeroed(MANY, sizeof(*flows));
	struct policy *policy = links(2, two);
	double sum[2] = { 0 }, bytes = 0;
	struct sim_setting setting = { .policy = policy, .delay = 0.01, .second = add_second, .context = sum };
	struct sim_result result;

	(void)state;
	draw_arrivals(flows, MANY, 0.85, exponential, fixture_seed());
	for (size_t i = 0; i < MANY; i++)
		bytes += flows[i].bytes;
	assert_true(sim_run(&setting, SIM_LEAST_LOAD, flows, MANY, &result));
	assert_int_equal((uint64_t)sum[0], (uint64_t)result.seconds);
	const struct sim_result unseen = simulate(policy, SIM_LEAST_LOAD, 0, 0.01, flows, MANY);

	assert_memory_equal(&unseen, &result, sizeof(result)); /* looking changes nothing */
	/* all but the last, unfinished one */
	assert_true(sum[1] <= bytes * (1 + 1e-9));
	assert_true(sum[1] >= bytes - RATE);
	policy_free(policy);
	free(flows);
}

static void test_link_without_capacity(void **state)
{
	const uint64_t bits[] = { 8000000, 0 };
	struct sim_flow flow = { .bytes = 1 };
	struct policy *policy = links(2, bits);
	const struct sim_setting setting = { .policy = policy };
	struct sim_result result;

	(void)state;
	assert_false(sim_run(&setting, SIM_LEAST_LOAD, &flow, 1, &result));
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_link_is_as_in_theory),
		cmocka_unit_test(test_pooled_links_are_as_in_theory),
		cmocka_unit_test(test_two_flows_by_hand),
		cmocka_unit_test(test_bytes_are_conserved),
		cmocka_unit_test(test_bounds_are_bounds),
		cmocka_unit_test(test_same_seed_same_result),
		cmocka_unit_test(test_delay_is_what_parts_least_load_from_perfect),
		cmocka_unit_test(test_idle_connections_cost),
		cmocka_unit_test(test_learnt_lifetimes_cost),
		cmocka_unit_test(test_seconds_add_up),
		cmocka_unit_test(test_empty_seconds_are_left_out),
		cmocka_unit_test(test_link_without_capacity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
