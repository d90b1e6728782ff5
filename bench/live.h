/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/live.h - what the programs of bench/live have in common: command line, clock, processor
 */
#ifndef BENCH_LIVE_H
#define BENCH_LIVE_H

#include <getopt.h>
#include <sched.h>
#include <time.h>

#include "tests/tools/traffic.h"

/* Where packets come from and go to; flow n takes the next of each */
struct live_options {
	struct sockaddr_storage from[TRAFFIC_MAX_ADDRESSES], to[TRAFFIC_MAX_ADDRESSES];
	unsigned n_from, n_to;
	uint16_t port;
	double seconds, rate; /* rate: a second; 0 for as fast as possible */
	int cpu; /* -1: any */
};

/* Of a getopt_long() table; a program's own options follow */
#define LIVE_OPTIONS                                                                                   \
	{ "from", required_argument, NULL, 'f' }, { "to", required_argument, NULL, 't' },              \
		{ "port", required_argument, NULL, 'p' }, { "seconds", required_argument, NULL, 's' }, \
		{ "rate", required_argument, NULL, 'r' },                                              \
	{                                                                                              \
		"cpu", required_argument, NULL, 'C'                                                    \
	}

/* False: not one of LIVE_OPTIONS */
static inline bool live_take_option(struct live_options *options, int name, char *value)
{
	switch (name) {
	case 'f':
		options->n_from = traffic_parse_addresses(value, options->from);
		break;
	case 't':
		options->n_to = traffic_parse_addresses(value, options->to);
		break;
	case 'p':
		options->port = (uint16_t)strtoul(value, NULL, 10);
		break;
	case 's':
		options->seconds = strtod(value, NULL);
		break;
	case 'r':
		options->rate = strtod(value, NULL);
		break;
	case 'C':
		options->cpu = (int)strtol(value, NULL, 10);
		break;
	default:
		return false;
	}
	return true;
}

static inline uint64_t live_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* On one processor from now on; -1: on any */
static inline void live_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (cpu >= 0 && sched_setaffinity(0, sizeof(set), &set) < 0)
		traffic_die("sched_setaffinity");
}

#endif
