/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sampler.c - rates and shares, with a clock of our own
 *
 * Includes the module and stands in for the workers: their counters are set here.
 */
#include "tests/unit/fixture.h"

#include "nfq-balancer/sampler.c"

struct worker {
	struct worker_counters counters;
};

const struct worker_counters *worker_counters(const struct worker *worker)
{
	return &worker->counters;
}

static struct worker workers[2];

struct bench {
	struct daemon daemon;
	struct sampler *sampler;
	uint64_t now;
};

static void set_up(struct bench *bench)
{
	struct config *config = fixture_empty();

	fixture_link(config, 1, 1);
	fixture_link(config, 2, 1);
	memset(bench, 0, sizeof(*bench));
	memset(workers, 0, sizeof(workers));
	bench->daemon.workers[0] = &workers[0];
	bench->daemon.workers[1] = &workers[1];
	bench->daemon.n_workers = 2;
	bench->daemon.policy = policy_compile(config);
	bench->daemon.links.status[0].ifindex = 7;
	bench->sampler = sampler_new(&bench->daemon);
	bench->now = 1000000;
}

static void tear_down(struct bench *bench)
{
	sampler_free(bench->sampler);
	assert_null(bench->daemon.sampler);
	policy_free(bench->daemon.policy);
}

/* `seconds` ticks, with so many new flows before each */
static void run(struct bench *bench, unsigned seconds, unsigned worker, unsigned link, uint64_t flows)
{
	while (seconds-- > 0) {
		atomic_fetch_add(&workers[worker].counters.links[link], flows);
		bench->now += 1000;
		sampler_tick(bench->sampler, bench->now);
	}
}

static void test_nothing_yet(void **state)
{
	struct bench bench;

	(void)state;
	set_up(&bench);
	assert_int_equal(sampler_link(NULL, 0).flows, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).flows, 0);
	tear_down(&bench);
}

static void test_rates_sum_workers(void **state)
{
	struct bench bench;
	struct sampler_link link;

	(void)state;
	set_up(&bench);
	run(&bench, 5, 0, 0, 30);
	link = sampler_link(bench.sampler, 0);
	/* also in the first second of life */
	assert_int_equal(link.flows, 150);
	assert_int_equal(link.rate_tenths, 300);
	run(&bench, 5, 1, 0, 10);
	link = sampler_link(bench.sampler, 0);
	assert_int_equal(link.flows, 200);
	assert_int_equal(link.rate_tenths, 200);
	assert_int_equal(sampler_link(bench.sampler, 1).flows, 0);
	tear_down(&bench);
}

/* What is older than five minutes does not count any more; at ten seconds' precision */
static void test_five_minutes(void **state)
{
	struct bench bench;

	(void)state;
	set_up(&bench);
	run(&bench, 100, 0, 0, 5);
	assert_int_equal(sampler_link(bench.sampler, 0).flows_5min, 500);
	run(&bench, 250, 0, 0, 0);
	assert_in_range(sampler_link(bench.sampler, 0).flows_5min, 200, 300);
	run(&bench, 100, 0, 0, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).flows_5min, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).rate_tenths, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).flows, 500);
	tear_down(&bench);
}

/* A late timer stretches the window, not the rate */
static void test_late_tick(void **state)
{
	struct bench bench;

	(void)state;
	set_up(&bench);
	run(&bench, 3, 0, 0, 10);
	bench.now += 6000;
	run(&bench, 1, 0, 0, 70);
	assert_int_equal(sampler_link(bench.sampler, 0).rate_tenths, 100);
	tear_down(&bench);
}

static void test_bytes(void **state)
{
	struct link_status *status;
	struct bench bench;

	(void)state;
	set_up(&bench);
	status = &bench.daemon.links.status[0];
	/* what the interface counted before the daemon came is not ours */
	status->rx_bytes = 5000000;
	status->tx_bytes = 400;
	run(&bench, 1, 0, 0, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bytes, 0);
	for (int i = 0; i < 10; i++) {
		status->rx_bytes += 1000;
		status->tx_bytes += 10;
		run(&bench, 1, 0, 0, 0);
	}
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bytes, 10000);
	assert_int_equal(sampler_link(bench.sampler, 0).tx_bytes, 100);
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bits, 8000);
	assert_int_equal(sampler_link(bench.sampler, 0).tx_bits, 80);
	tear_down(&bench);
}

/* The interface goes and another one comes by its name, counting from the start again */
static void test_interface_made_again(void **state)
{
	struct link_status *status;
	struct bench bench;

	(void)state;
	set_up(&bench);
	status = &bench.daemon.links.status[0];
	status->rx_bytes = 1000;
	run(&bench, 1, 0, 0, 0);
	status->rx_bytes = 3000;
	run(&bench, 1, 0, 0, 0);
	status->ifindex = 0;
	run(&bench, 1, 0, 0, 0);
	status->ifindex = 8;
	status->rx_bytes = 90000;
	run(&bench, 1, 0, 0, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bytes, 2000);
	status->rx_bytes = 90500;
	run(&bench, 1, 0, 0, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bytes, 2500);
	/* the same index, smaller numbers: counters were reset */
	status->rx_bytes = 10;
	run(&bench, 1, 0, 0, 0);
	assert_int_equal(sampler_link(bench.sampler, 0).rx_bytes, 2500);
	tear_down(&bench);
}

/* Counters of 32 bits that wrap, are reset, or of which one goes back alone: seconds are lost, nothing is made up */
static void test_counters_jump_back(void **state)
{
	uint64_t random = fixture_seed(), last = 0, true_total = 0;
	struct link_status *status;
	struct sampler_link link;
	struct bench bench;

	(void)state;
	set_up(&bench);
	status = &bench.daemon.links.status[0];
	status->rx_bytes = status->tx_bytes = UINT32_MAX - 40000;
	run(&bench, 1, 0, 0, 0);
	for (int i = 0; i < 1000; i++) {
		const uint32_t bytes = fixture_below(&random, 10000);

		true_total += bytes;
		status->rx_bytes = (uint32_t)(status->rx_bytes + bytes);
		status->tx_bytes = (uint32_t)(status->tx_bytes + bytes);
		if (!fixture_below(&random, 10))
			status->rx_bytes = 0;
		if (!fixture_below(&random, 10))
			status->tx_bytes = fixture_below(&random, 2000);
		run(&bench, 1, 0, 0, 0);
		link = sampler_link(bench.sampler, 0);
		assert_in_range(link.rx_bits, 0, 80000);
		assert_in_range(link.tx_bits, 0, 80000);
		assert_in_range(link.rx_bits_now, 0, 80000);
		assert_in_range(link.rx_bytes, last, true_total);
		last = link.rx_bytes;
	}
	/* most seconds did count */
	assert_true(last > true_total / 2);
	tear_down(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_yet),
		cmocka_unit_test(test_rates_sum_workers),
		cmocka_unit_test(test_five_minutes),
		cmocka_unit_test(test_late_tick),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_interface_made_again),
		cmocka_unit_test(test_counters_jump_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
