/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim_private.h - between the simulated links (sim.c) and who chooses among them (sim_choose.c)
 */
#ifndef BENCH_SIM_PRIVATE_H
#define BENCH_SIM_PRIVATE_H

#include "bench/sim.h"
#include "policy/decide.h"
#include "policy/track_class.h"

#define SIM_RECENT 64 /* reports that the rate of departures is taken from */

struct sim_item {
	double when; /* a time; of a present flow, the service that the link has given each by then */
	size_t which; /* flow, or link */
};

struct sim_heap {
	struct sim_item *item; /* the first is the earliest */
	size_t n, room;
};

struct sim_link {
	double rate; /* bytes/s */
	double now, service, sent;
	struct sim_heap present;
};

struct sim_lingering {
	double until;
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

	/* what the scheduler is told of flows that stopped (sim_report.c) */
	struct sim_heap reports; /* of links */
	double delay, idle_share, idle_time;
	bool learn;
	bool *guessed; /* by flow: reported when its learnt lifetime is over */
	struct track_class classes[TRACK_CLASSES];
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
	struct sim_lingering *lingering[2]; /* by timeout: each a queue in order */
	size_t lingering_begin[2], lingering_end[2], lingering_room[2];
	uint64_t entries[CONFIG_MAX_LINKS];

	void (*second)(void *context, const struct sim_second *second);
	void *context;
	double seconds, told[CONFIG_MAX_LINKS];

	/* sampled byte rates */
	double sampled_at, sampled[CONFIG_MAX_LINKS], sent_before[CONFIG_MAX_LINKS];
};

bool sim_open(struct sim *sim, const struct sim_setting *setting, enum sim_contender contender);
void sim_close(struct sim *sim);
unsigned sim_choose(struct sim *sim, size_t index);
/* The flow's conntrack entry stays for its timeout */
bool sim_entry_linger(struct sim *sim, size_t flow, unsigned link, double now);
bool sim_heap_push(struct sim_heap *heap, struct sim_item item);
struct sim_item sim_heap_pop(struct sim_heap *heap); /* not empty */

/* A flow starts, stops; false: out of memory */
bool sim_report_start(struct sim *sim, size_t flow, unsigned link);
bool sim_report_stop(struct sim *sim, size_t flow, unsigned link, double now);
double sim_report_next(const struct sim *sim); /* time of the next, or infinity */
void sim_report_take(struct sim *sim);

/* Take samples that are due at sim->now */
void sim_sample(struct sim *sim);

#endif
