/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_sim.c - the flows of a capture through the simulator, for every contender
 *
 * trace: each flow at its own time with its own size. resample: sizes and tuples drawn
 * with replacement, exponential times between arrivals, so that the links' total
 * capacity is loaded as asked. All contenders see the same arrivals.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/replay.h"
#include "bench/sim.h"

struct sums {
	double mean, p50, p95, p99;
	double flows[CONFIG_MAX_LINKS];
	uint64_t unsteered;
};

struct simulation {
	const struct replay_options *options;
	const struct config *config;
	struct sim_setting setting;
	struct seen_flow **samples; /* flows of the capture that leave the LAN */
	size_t n_samples;
	double mean_bytes; /* of a sample */
	struct sim_flow *flows;
	size_t n;
	struct sums sums[SIM_CONTENDERS];
	uint64_t random;
	FILE *series; /* or NULL */
	const char *contender; /* that runs now */
};

/* ---- flows ---- */

static double uniform(struct simulation *sim)
{
	/* SplitMix64 (Steele, Lea, Flood 2014); 53 bits of it */
	uint64_t z = (sim->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static bool take_samples(struct simulation *sim, const struct flow_table *table)
{
	size_t n;
	struct seen_flow *const *all = flow_table_all(table, &n);
	double bytes = 0;

	sim->samples = calloc(n + 1, sizeof(*sim->samples));
	for (size_t i = 0; sim->samples && i < n; i++) {
		if (!all[i]->outbound || !all[i]->bytes)
			continue;
		sim->samples[sim->n_samples++] = all[i];
		bytes += (double)all[i]->bytes;
	}
	if (!sim->n_samples) {
		fprintf(stderr, "nfqb-replay: %s: no flow to simulate\n", sim->options->capture);
		return false;
	}
	sim->mean_bytes = bytes / (double)sim->n_samples;
	return true;
}

static void copy_packets(struct sim_flow *flow, const struct seen_flow *sample)
{
	for (unsigned i = 0; i < 2; i++)
		flow->packets[i] = sample->packets[i] < UINT32_MAX ? (uint32_t)sample->packets[i] : UINT32_MAX;
}

static void trace_flows(struct simulation *sim)
{
	for (size_t i = 0; i < sim->n; i++) {
		sim->flows[i] = (struct sim_flow){
			.flow = sim->samples[i]->flow,
			.arrival = (double)(sim->samples[i]->first - sim->samples[0]->first) / 1000,
			.bytes = (double)sim->samples[i]->bytes,
		};
		copy_packets(&sim->flows[i], sim->samples[i]);
	}
}

static double total_rate(const struct config *config)
{
	double sum = 0;

	for (size_t i = 0; i < config->n_links; i++)
		sum += (double)config->links[i].download / 8;
	return sum;
}

static void draw_flows(struct simulation *sim)
{
	const double rate = total_rate(sim->config) * (double)sim->options->sim_load / 100 / sim->mean_bytes;
	double now = 0;

	for (size_t i = 0; i < sim->n; i++) {
		const struct seen_flow *sample = sim->samples[(size_t)(uniform(sim) * (double)sim->n_samples)];

		now += -log1p(-uniform(sim)) / rate;
		sim->flows[i] =
			(struct sim_flow){ .flow = sample->flow, .arrival = now, .bytes = (double)sample->bytes };
		copy_packets(&sim->flows[i], sample);
		/* each draw is a flow of its own, not another packet of the last one */
		sim->flows[i].flow.sport = (uint16_t)i;
		sim->flows[i].flow.src.b[13] ^= (uint8_t)(i >> 16);
	}
}

/* ---- output ---- */

/* A bar while somebody watches, and nothing left of it afterwards */
static void show_progress(uint64_t done, uint64_t all)
{
	static const char bar[] = "########################################";
	const int width = (int)sizeof(bar) - 1;

	if (!isatty(STDERR_FILENO))
		return;
	if (done == all)
		fputs("\r\033[K", stderr);
	else
		fprintf(stderr, "\r[%-*.*s] %3d %%", width, (int)(done * (uint64_t)width / all), bar,
			(int)(done * 100 / all));
	fflush(stderr);
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static void print_table(const struct simulation *sim)
{
	printf("%-11s %9s %9s %9s %9s %9s %6s ", "SCHEDULER", "MEAN", "P50", "P95", "P99", "/PERFECT", "/NTH");
	for (size_t i = 0; i < sim->config->n_links; i++)
		printf(" %s", sim->config->links[i].name);
	putchar('\n');
	for (int c = SIM_LEAST_LOAD; c < SIM_CONTENDERS; c++) {
		const struct sums *sums = &sim->sums[c];

		printf("%-11s %9.3f %9.3f %9.3f %9.3f %9.3f %6.3f ", sim_contender_name((enum sim_contender)c),
		       sums->mean, sums->p50, sums->p95, sums->p99, ratio(sums->mean, sim->sums[SIM_PERFECT].mean),
		       ratio(sums->mean, sim->sums[SIM_NTH].mean));
		for (size_t i = 0; i < sim->config->n_links; i++)
			printf(" %.1f%%", 100 * sums->flows[i] / (double)sim->n);
		putchar('\n');
	}
}

static void print_json(const struct simulation *sim)
{
	printf("{\"capture_flows\": %zu, \"mean_bytes\": %.1f, \"flows\": %zu, \"seeds\": %" PRIu64
	       ", \"load_percent\": %" PRIu64 ", \"event_delay_ms\": %g, \"schedulers\": {",
	       sim->n_samples, sim->mean_bytes, sim->n, sim->options->sim_seeds, sim->options->sim_load,
	       sim->options->sim_delay);
	for (int c = SIM_LEAST_LOAD; c < SIM_CONTENDERS; c++) {
		const struct sums *sums = &sim->sums[c];

		printf("%s\"%s\": {\"mean\": %.6f, \"p50\": %.6f, \"p95\": %.6f, \"p99\": %.6f, \"flows\": {",
		       c == SIM_LEAST_LOAD ? "" : ", ", sim_contender_name((enum sim_contender)c), sums->mean,
		       sums->p50, sums->p95, sums->p99);
		for (size_t i = 0; i < sim->config->n_links; i++)
			printf("%s\"%s\": %.1f", i ? ", " : "", sim->config->links[i].name, sums->flows[i]);
		fputs("}}", stdout);
	}
	puts("}}");
}

/* One line for each second and link: scheduler, second, link, bits sent, flows present at its end */
static void write_second(void *context, const struct sim_second *second)
{
	const struct simulation *sim = context;

	for (size_t i = 0; i < sim->config->n_links; i++)
		fprintf(sim->series, "%s\t%" PRIu64 "\t%s\t%.0f\t%zu\n", sim->contender, second->number,
			sim->config->links[i].name, second->bytes[i] * 8, second->present[i]);
}

/* ---- running ---- */

static bool run_contenders(struct simulation *sim, uint64_t seed, uint64_t *done)
{
	const uint64_t all = sim->options->sim_seeds * (SIM_CONTENDERS - 1);
	const double share = 1.0 / (double)sim->options->sim_seeds;

	sim->setting.seed = seed;
	for (int c = SIM_LEAST_LOAD; c < SIM_CONTENDERS; c++) {
		struct sums *sums = &sim->sums[c];
		struct sim_result result;

		sim->contender = sim_contender_name((enum sim_contender)c);

		if (!sim_run(&sim->setting, (enum sim_contender)c, sim->flows, sim->n, &result)) {
			fprintf(stderr, "nfqb-replay: %s: every link needs a download capacity to be simulated\n",
				sim->options->config);
			return false;
		}
		sums->mean += result.mean * share;
		sums->p50 += result.p50 * share;
		sums->p95 += result.p95 * share;
		sums->p99 += result.p99 * share;
		sums->unsteered += result.unsteered;
		for (size_t i = 0; i < sim->config->n_links; i++)
			sums->flows[i] += (double)result.flows[i] * share;
		show_progress(++*done, all);
	}
	return true;
}

static bool run(struct simulation *sim)
{
	const struct replay_options *options = sim->options;
	uint64_t done = 0;

	for (uint64_t i = 0; i < options->sim_seeds; i++) {
		sim->random = options->seed + i;
		if (options->simulation == SIMULATE_TRACE)
			trace_flows(sim);
		else
			draw_flows(sim);
		if (!run_contenders(sim, options->seed + i, &done))
			return false;
		sim->setting.second = NULL; /* the series is of the first seed */
	}
	return true;
}

static bool open_series(struct simulation *sim)
{
	const char *path = sim->options->sim_series;

	if (!path)
		return true;
	sim->series = fopen(path, "w");
	if (!sim->series) {
		fprintf(stderr, "nfqb-replay: %s: %s\n", path, strerror(errno));
		return false;
	}
	fputs("scheduler\tsecond\tlink\tbits\tflows\n", sim->series);
	sim->setting.second = write_second;
	sim->setting.context = sim;
	return true;
}

static bool close_series(struct simulation *sim)
{
	if (!sim->series)
		return true;
	if (!ferror(sim->series) && fclose(sim->series) == 0)
		return true;
	fprintf(stderr, "nfqb-replay: %s: cannot write\n", sim->options->sim_series);
	return false;
}

bool replay_simulate(const struct replay_options *options, const struct policy *policy, const struct flow_table *table)
{
	struct simulation sim = {
		.options = options,
		.config = policy_config(policy),
		.setting = {
			.policy = policy,
			.delay = options->sim_delay / 1000,
			.learn_lifetimes = options->sim_learn,
			.idle_share = (double)options->sim_idle_share / 100,
			.idle_time = (double)options->sim_idle_time / 1000,
		},
	};
	bool good = take_samples(&sim, table) && open_series(&sim);

	if (good) {
		sim.n = options->simulation == SIMULATE_TRACE ? sim.n_samples : options->sim_flows;
		sim.flows = calloc(sim.n, sizeof(*sim.flows));
		good = sim.flows && run(&sim);
	}
	if (good && sim.sums[SIM_LEAST_LOAD].unsteered)
		fprintf(stderr,
			"nfqb-replay: warning: %" PRIu64
			" flows are not steered by %s (bypass, or a family that no link "
			"carries): simulated on the first link\n",
			sim.sums[SIM_LEAST_LOAD].unsteered, options->config);
	if (good && options->json)
		print_json(&sim);
	else if (good)
		print_table(&sim);
	free(sim.samples);
	free(sim.flows);
	good &= close_series(&sim);
	return good;
}
