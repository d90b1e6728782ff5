/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim.h - flows over simulated links, placed by the production scheduler or another way
 *
 * Links are fluid processor-sharing servers: n flows on a link of capacity C are
 * served C/n each (Kleinrock 1967). Flows arrive with given sizes at given times;
 * their end is reported to the scheduler `delay` later, as conntrack's events are.
 * The slowdown of a flow is its completion time over what it would take alone on one
 * link of the total capacity. Deterministic for a seed.
 */
#ifndef BENCH_SIM_H
#define BENCH_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

enum sim_contender {
	SIM_POLICY, /* decide() with the configuration's own schedulers */
	SIM_LEAST_LOAD, /* decide() with this scheduler in every group */
	SIM_WRR,
	SIM_HASH,
	SIM_SPILLOVER,
	/* these know weights only, and are given the capacities as weights */
	SIM_NTH, /* iptables statistic nth, nft numgen inc */
	SIM_RANDOM, /* by weight: statistic random, numgen random */
	SIM_ECMP, /* multipath, layer 4 hash */
	SIM_ENTRIES, /* fewest conntrack entries per capacity */
	SIM_SAMPLED, /* least measured bit/s per capacity, sampled each second */
	SIM_PERFECT, /* least load with counts that are never late: a bound */
	SIM_POOLED, /* one link of the total capacity: a bound */
	SIM_CONTENDERS
};

struct sim_flow {
	struct flow flow;
	double arrival; /* s */
	double bytes;
	uint32_t packets[2]; /* there and back: one each is an exchange whose end shows */
};

/* What happened on the links in one second */
struct sim_second {
	uint64_t number; /* from 0 */
	double bytes[CONFIG_MAX_LINKS];
	size_t present[CONFIG_MAX_LINKS]; /* flows, at its end */
};

struct sim_setting {
	const struct policy *policy; /* links: capacity = download, weights as configured */
	double delay; /* s, of the report of a flow's end */
	uint64_t seed;
	/* what hides the end of a flow from the scheduler, beside `delay` */
	bool learn_lifetimes; /* datagrams have no end: their class's learnt lifetime is taken for it */
	double idle_share, idle_time; /* this share of TCP flows stay open for so many s after their last byte */
	void (*second)(void *context, const struct sim_second *second); /* told each second, or NULL */
	void *context;
};

struct sim_result {
	double mean, p50, p95, p99; /* slowdown */
	double seconds; /* of simulated time */
	uint64_t unsteered; /* flows that decide() gave no link, simulated on the first */
	uint64_t flows[CONFIG_MAX_LINKS]; /* by link index */
	double bytes[CONFIG_MAX_LINKS];
};

const char *sim_contender_name(enum sim_contender contender);

/* Simulate `n` flows in order of arrival. False: out of memory, or a link without capacity. */
bool sim_run(const struct sim_setting *setting, enum sim_contender contender, const struct sim_flow *flows, size_t n,
	     struct sim_result *out);

#endif
