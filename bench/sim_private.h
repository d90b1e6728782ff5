/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim_private.h - between the simulated links (sim.c) and who chooses among them (sim_choose.c)
 */
#ifndef BENCH_SIM_PRIVATE_H
#define BENCH_SIM_PRIVATE_H

#include "bench/sim.h"
#include "policy/decide.h"

#define SIM_RECENT 64 /* reports that the rate of departures is taken from */

struct sim_present {
	double leaves_at; /* service that the link has given each flow by then */
	size_t flow;
};

struct sim_link {
	double rate; /* bytes/s */
	double now, service, sent;
	struct sim_present *heap;
	size_t n, room;
};

struct sim_report {
	double time;
	unsigned link;
};

struct sim {
	const struct sim_flow *flows;
	struct sim_result *out;
	double *slowdown;

	struct sim_link links[CONFIG_MAX_LINKS];
	unsigned n_links;
	double total_rate;
	double now;

	struct sim_report *reports;
	size_t reports_begin, reports_end, reports_room;
	double delay;
	double recent[SIM_RECENT];
	uint64_t n_recent;

	enum sim_contender contender;
	const struct config *config;
	struct link_runtime runtime;
	struct load load;
	struct decider decider;
	uint64_t random; /* state of the generator */
	uint64_t turn; /* nth */
	uint64_t shares[CONFIG_MAX_LINKS], sum_of_shares; /* weight x capacity, for those who know weights only */

	/* conntrack entries that outlive their flows */
	double *entries_until;
	struct sim_report *lingering[2]; /* by timeout: each a queue in order */
	size_t lingering_begin[2], lingering_end[2], lingering_room[2];
	uint64_t entries[CONFIG_MAX_LINKS];

	/* sampled byte rates */
	double sampled_at, sampled[CONFIG_MAX_LINKS], sent_before[CONFIG_MAX_LINKS];
};

bool sim_open(struct sim *sim, const struct sim_setting *setting, enum sim_contender contender);
void sim_close(struct sim *sim);
unsigned sim_choose(struct sim *sim, size_t flow);
/* The flow's conntrack entry stays for its timeout */
bool sim_entry_linger(struct sim *sim, size_t flow, unsigned link, double now);
/* Take samples that are due at sim->now */
void sim_sample(struct sim *sim);

#endif
