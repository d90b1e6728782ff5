/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/cost_measure.c - how long decisions take, and what a policy takes
 *
 * Decisions are timed a batch at a time, as the daemon's worker makes them: all
 * packets of the batch are at hand, then each is decided. Flows are made up between
 * the batches, outside the time taken. Batches with and without decoding take
 * turns. Before the first one that counts, the table of answers has filled.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/cost.h"

#define RECENT_LOG2 18 /* as the daemon's workers have it */
#define FLOWS_PER_MS 150
#define FLOWS_SENDING 64 /* per link, on average */
#define FLOWS_SENDING_MAX (FLOWS_SENDING * CONFIG_MAX_LINKS)
#define UNREPORTED 25 /* departures under way: 25,000 a second, and a millisecond until they are known */
#define CLIENTS 5000 /* where none is remembered */
#define WORKERS 1 /* as many as the daemon has by default */

struct bench {
	struct decider decider;
	struct link_runtime runtime;
	struct load load;
	struct policy *policy;
	struct cost_world world;
	struct cost_packet packets[COST_BATCH];
	uint64_t decided; /* which is what time goes by */
	/* flows that are sending, in the order of their beginning; links by index */
	uint8_t sending[FLOWS_SENDING_MAX];
	size_t n_sending, first_sending, max_sending;
};

static uint64_t nanoseconds(void)
{
	struct timespec clock;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	return (uint64_t)clock.tv_sec * UINT64_C(1000000000) + (uint64_t)clock.tv_nsec;
}

static uint64_t bench_now(const struct bench *bench)
{
	return 1000000 + bench->decided / FLOWS_PER_MS;
}

/* ---- setting up ---- */

static void fill_sticky(struct bench *bench, const struct cost_size *size)
{
	const struct flow_meta meta = { .mark = 0x8000 };

	for (size_t client = 0; client < size->sticky; client++) {
		const struct flow flow = cost_world_flow(&bench->world, client);

		decide_learn(&bench->decider, &flow, &meta, 1 + (unsigned)(client % size->links), bench_now(bench));
	}
}

/* Links at rest to links that are full, and round trips that differ */
static void fill_runtime(struct link_runtime *runtime, unsigned links)
{
	for (unsigned i = 0; i < links; i++) {
		const struct link_measured measured = {
			.bits_down = (uint64_t)link_runtime_capacity(runtime, i) * 100 * (i * 97 % 100),
			.sending = FLOWS_SENDING,
			.rtt_us = 10000 + i * 7919 % 30000,
		};

		link_runtime_set_measured(runtime, i, &measured);
	}
}

static void bench_free(struct bench *bench)
{
	if (!bench)
		return;
	policy_free(bench->policy);
	sticky_free(bench->decider.sticky);
	recent_free(bench->decider.recent);
	free(bench->decider.sched);
	free(bench);
}

static struct bench *bench_new(const struct cost_size *size, uint64_t seed)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));
	struct config *config = cost_config(size, seed);

	if (!bench || !config) {
		free(bench);
		config_free(config);
		return NULL;
	}
	memset(bench, 0, sizeof(*bench));
	bench->policy = policy_compile(config);
	bench->decider = (struct decider){
		.policy = bench->policy,
		.runtime = &bench->runtime,
		.load = &bench->load,
		.sticky = sticky_new(size->sticky),
		.sched = calloc(1, sizeof(struct sched_state)),
		.recent = recent_new(RECENT_LOG2),
		.key = { cost_random(&seed), cost_random(&seed) },
	};
	if (!bench->policy || !bench->decider.sticky || !bench->decider.sched || !bench->decider.recent) {
		bench_free(bench);
		return NULL;
	}
	link_runtime_init(&bench->runtime, config);
	fill_runtime(&bench->runtime, size->links);
	bench->load.workers = WORKERS;
	bench->load.unreported = UNREPORTED;
	bench->max_sending = FLOWS_SENDING * (size_t)size->links;
	cost_world_init(&bench->world, config, size->sticky ? size->sticky : CLIENTS, seed);
	fill_sticky(bench, size);
	return bench;
}

/* ---- timing ---- */

/* The new flow is sending through this link, and the oldest one stops when there are enough */
static void follow(struct bench *bench, int16_t link)
{
	if (link < 0)
		return;
	if (bench->n_sending == bench->max_sending) {
		load_sub(&bench->load.followed, bench->sending[bench->first_sending], 1);
		bench->first_sending = (bench->first_sending + 1) % bench->max_sending;
		bench->n_sending--;
	}
	bench->sending[(bench->first_sending + bench->n_sending++) % bench->max_sending] = (uint8_t)link;
}

/* Nanoseconds per decision of one batch */
static double time_batch(struct bench *bench, bool decode)
{
	int16_t links[COST_BATCH]; /* of new flows; others: -1 */
	struct flow flows[COST_BATCH];
	const uint64_t now = bench_now(bench);
	struct decide_prepared prepared[COST_BATCH];
	uint64_t begin, end;

	for (unsigned i = 0; i < COST_BATCH; i++) {
		cost_world_packet(&bench->world, &bench->packets[i]);
		flows[i] = bench->packets[i].flow;
	}
	begin = nanoseconds();
	for (unsigned i = 0; decode && i < COST_BATCH; i++) {
		if (decode_packet(bench->packets[i].bytes, bench->packets[i].len, &flows[i]) != DECODE_OK)
			abort(); /* a packet of our own */
	}
	for (unsigned i = 0; i < COST_BATCH; i++)
		decide_prepare(&bench->decider, &flows[i], &bench->packets[i].meta, &prepared[i]);
	for (unsigned i = 0; i < COST_BATCH; i++) {
		struct decision decision;

		decide_prepared(&bench->decider, &flows[i], &bench->packets[i].meta, now, &prepared[i], &decision);
		/* what the caller has of it: the answer is at hand, and is not kept here */
		links[i] = decision.reason == REASON_REPEAT ? -1 : decision.link;
	}
	end = nanoseconds();
	for (unsigned i = 0; i < COST_BATCH; i++)
		follow(bench, links[i]);
	bench->decided += COST_BATCH;
	return (double)(end - begin) / COST_BATCH;
}

static int compare_doubles(const void *a, const void *b)
{
	const double *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static struct cost_times summary(double *times, size_t n)
{
	qsort(times, n, sizeof(*times), compare_doubles);
	return (struct cost_times){ .median = times[n / 2], .p99 = times[n * 99 / 100] };
}

static bool out_of_memory(void)
{
	fputs("nfqb-cost: out of memory\n", stderr);
	return false;
}

bool cost_measure(const struct cost_size *size, uint64_t seed, uint64_t decisions, struct cost_result *out)
{
	const size_t batches = decisions / COST_BATCH + 1;
	struct bench *bench = bench_new(size, seed);
	double *times = calloc(2 * batches, sizeof(*times));

	if (!bench || !times) {
		bench_free(bench);
		free(times);
		return out_of_memory();
	}
	while (bench->decided < UINT64_C(1) << RECENT_LOG2 && bench->decided < 2 * decisions)
		time_batch(bench, false);
	for (size_t i = 0; i < batches; i++) {
		times[i] = time_batch(bench, false);
		times[batches + i] = time_batch(bench, true);
	}
	out->decide = summary(times, batches);
	out->decode_decide = summary(times + batches, batches);
	bench_free(bench);
	free(times);
	return true;
}

/* ---- memory ---- */

/* Heap in use, large blocks included */
static size_t heap(void)
{
	const struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

bool cost_policy(const struct cost_size *size, uint64_t seed, struct cost_policy *out)
{
	const size_t before = heap();
	struct config *config = cost_config(size, seed);
	const uint64_t begin = nanoseconds();
	struct policy *policy = config ? policy_compile(config) : NULL;

	if (!policy)
		return out_of_memory();
	out->compile_ms = (double)(nanoseconds() - begin) / 1e6;
	out->kept = heap() - before;
	policy_free(policy);
	return true;
}
