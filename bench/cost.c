/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/cost.c - what a decision costs in the pure core, and how that grows
 *
 * Three curves for each scheduler: over the number of rules, of links, and of clients
 * that stickiness remembers; and what compiling a policy takes. Like bench/replay
 * it is linked without any netfilter library.
 */
#include "bench/cost.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "Usage: cost [OPTION]...\n"
			    "What a decision costs in the pure core: nanoseconds, median and 99th percentile over\n"
			    "batches of 64, against the number of rules, links and sticky entries.\n"
			    "\n"
			    "  --only CURVE         rules, links, sticky or policy (default: all four)\n"
			    "  --at N               this point of the curves alone\n"
			    "  --scheduler NAME     this scheduler alone (default: all)\n"
			    "  --decisions N        per point and column (default 100000)\n"
			    "  --seed N             of rules and flows (default 1)\n"
			    "  --json               JSON, one object per line\n"
			    "  -h, --help           this text\n"
			    "  -v, --version        the version\n";

#define RULES 100
#define LINKS 8

struct options {
	const char *only; /* NULL: all curves */
	uint64_t at; /* UINT64_MAX: all points */
	int scheduler; /* -1: all */
	uint64_t decisions, seed;
	bool json;
};

/* ---- the command line ---- */

enum long_option {
	OPT_ONLY = 256,
	OPT_AT,
	OPT_SCHEDULER,
	OPT_DECISIONS,
	OPT_SEED,
	OPT_JSON,
};

static const struct option long_options[] = {
	{ "only", required_argument, NULL, OPT_ONLY },
	{ "at", required_argument, NULL, OPT_AT },
	{ "scheduler", required_argument, NULL, OPT_SCHEDULER },
	{ "decisions", required_argument, NULL, OPT_DECISIONS },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static bool complain(const char *option, const char *value, const char *expected)
{
	fprintf(stderr, "nfqb-cost: %s: \"%s\" is wrong, expected %s\n", option, value, expected);
	return false;
}

static bool parse_number(const char *option, const char *text, uint64_t max, uint64_t *out)
{
	char *end = NULL;

	if (*text < '0' || *text > '9')
		return complain(option, text, "a number");
	*out = strtoull(text, &end, 10);
	return (!*end && *out <= max) || complain(option, text, "a number that is not that large");
}

static bool parse_only(struct options *options, const char *text)
{
	options->only = text;
	return !strcmp(text, "rules") || !strcmp(text, "links") || !strcmp(text, "sticky") || !strcmp(text, "policy") ||
	       complain("--only", text, "rules, links, sticky or policy");
}

static bool parse_one(struct options *options, int option)
{
	switch (option) {
	case OPT_ONLY:
		return parse_only(options, optarg);
	case OPT_AT:
		return parse_number("--at", optarg, UINT32_MAX, &options->at);
	case OPT_SCHEDULER:
		options->scheduler = scheduler_parse(optarg);
		return options->scheduler >= 0 || complain("--scheduler", optarg, "the name of a scheduler");
	case OPT_DECISIONS:
		return parse_number("--decisions", optarg, 1000000000, &options->decisions);
	case OPT_SEED:
		return parse_number("--seed", optarg, UINT64_MAX, &options->seed);
	case OPT_JSON:
		options->json = true;
		return true;
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	case 'v':
		puts("nfqb-cost (nfq-balancer) " NFQB_VERSION);
		exit(EXIT_SUCCESS);
	default: /* getopt_long() has said what is wrong */
		return false;
	}
}

static bool parse_options(struct options *options, int argc, char **argv)
{
	int option;

	while ((option = getopt_long(argc, argv, "hv", long_options, NULL)) != -1) {
		if (!parse_one(options, option))
			return false;
	}
	return optind == argc || complain("argument", argv[optind], "options alone (see cost --help)");
}

/* ---- curves ---- */

struct curve {
	const char *name;
	unsigned n;
	struct cost_size at[10]; /* the scheduler is filled in */
	size_t x[10];
};

static const struct curve curves[] = {
	{ .name = "rules",
	  .n = 9,
	  .at = { { 1, LINKS, 0, 0 },
		  { 3, LINKS, 0, 0 },
		  { 10, LINKS, 0, 0 },
		  { 30, LINKS, 0, 0 },
		  { 100, LINKS, 0, 0 },
		  { 300, LINKS, 0, 0 },
		  { 1000, LINKS, 0, 0 },
		  { 3000, LINKS, 0, 0 },
		  { 10000, LINKS, 0, 0 } },
	  .x = { 1, 3, 10, 30, 100, 300, 1000, 3000, 10000 } },
	{ .name = "links",
	  .n = 6,
	  .at = { { RULES, 2, 0, 0 },
		  { RULES, 4, 0, 0 },
		  { RULES, 8, 0, 0 },
		  { RULES, 16, 0, 0 },
		  { RULES, 32, 0, 0 },
		  { RULES, 60, 0, 0 } },
	  .x = { 2, 4, 8, 16, 32, 60 } },
	{ .name = "sticky",
	  .n = 6,
	  .at = { { RULES, LINKS, 0, 0 },
		  { RULES, LINKS, 0, 100 },
		  { RULES, LINKS, 0, 1000 },
		  { RULES, LINKS, 0, 10000 },
		  { RULES, LINKS, 0, 100000 },
		  { RULES, LINKS, 0, 1000000 } },
	  .x = { 0, 100, 1000, 10000, 100000, 1000000 } },
};

static bool wanted(const struct options *options, const char *curve)
{
	return !options->only || !strcmp(options->only, curve);
}

static void print_point(const struct options *options, const struct curve *curve, unsigned i, const char *scheduler,
			const struct cost_result *result)
{
	static const char text[] = "%-8s %8zu %-11s %9.1f %9.1f %9.1f %9.1f\n";
	static const char json[] =
		"{\"curve\":\"%s\",\"x\":%zu,\"scheduler\":\"%s\",\"decide_median_ns\":%.1f,\"decide_p99_ns\":%.1f,"
		"\"decode_decide_median_ns\":%.1f,\"decode_decide_p99_ns\":%.1f}\n";

	printf(options->json ? json : text, curve->name, curve->x[i], scheduler, result->decide.median,
	       result->decide.p99, result->decode_decide.median, result->decode_decide.p99);
	fflush(stdout);
}

static bool run_curve(const struct options *options, const struct curve *curve)
{
	for (int s = 0; s < SCHEDULERS; s++) {
		if (options->scheduler >= 0 && options->scheduler != s)
			continue;
		for (unsigned i = 0; i < curve->n; i++) {
			struct cost_size size = curve->at[i];
			struct cost_result result;

			if (options->at != UINT64_MAX && options->at != curve->x[i])
				continue;
			size.scheduler = (enum scheduler)s;
			if (!cost_measure(&size, options->seed, options->decisions, &result))
				return false;
			print_point(options, curve, i, scheduler_name(size.scheduler), &result);
		}
	}
	return true;
}

static bool run_curves(const struct options *options)
{
	bool headed = options->json;

	for (unsigned i = 0; i < sizeof(curves) / sizeof(*curves); i++) {
		if (!wanted(options, curves[i].name))
			continue;
		if (!headed)
			puts("CURVE           X SCHEDULER      DECIDE       P99   +DECODE       P99   ns");
		headed = true;
		if (!run_curve(options, &curves[i]))
			return false;
	}
	return true;
}

/* What compiling takes; before all else, so that the process is still small */
static bool run_policies(const struct options *options)
{
	static const unsigned rules[] = { 10, 100, 1000, 10000 };

	if (!wanted(options, "policy"))
		return true;
	if (!options->json)
		puts("POLICY      RULES LINKS COMPILE ms   KEPT KiB");
	for (unsigned i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		const struct cost_size size = { .rules = rules[i], .links = 60, .scheduler = SCHED_LEAST_LOAD };
		struct cost_policy policy;

		if (!cost_policy(&size, options->seed, &policy))
			return false;
		printf(options->json ? "{\"curve\":\"policy\",\"rules\":%u,\"links\":%u,\"compile_ms\":%.2f,"
				       "\"kept_kib\":%zu}\n"
				     : "policy   %8u %5u %10.2f %10zu\n",
		       size.rules, size.links, policy.compile_ms, policy.kept / 1024);
		fflush(stdout);
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options options = { .at = UINT64_MAX, .scheduler = -1, .decisions = 100000, .seed = 1 };

	if (!parse_options(&options, argc, argv))
		return EXIT_FAILURE;
	return run_policies(&options) && run_curves(&options) ? EXIT_SUCCESS : EXIT_FAILURE;
}
