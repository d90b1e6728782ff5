/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay.h - what the parts of bench/replay share
 *
 * replay.c reads the capture and decides, replay_options.c reads the command
 * line, replay_print.c writes what came out, replay_sim.c hands the flows to the
 * simulator.
 */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/replay_flows.h"
#include "bench/replay_link.h"
#include "policy/decide.h"
#include "policy/decode.h"

#define REPLAY_MAX_LIST 32

/* Beside deciding: what would the flows have suffered on links of finite capacity? (bench/sim.h) */
enum replay_simulation {
	SIMULATE_NOT,
	SIMULATE_TRACE, /* the capture's own flows, times and sizes */
	SIMULATE_RESAMPLE, /* flows drawn from its sizes, Poisson arrivals at a given load */
};

struct replay_options {
	const char *config; /* NULL with list_flows */
	const char *capture; /* "-": standard input */
	bool list_flows;
	bool json;
	bool quiet;
	uint64_t seed;
	uint64_t limit; /* packets; 0: all */
	uint64_t delay; /* ms between a flow's first packet and its verdict */
	const char *interface; /* that every packet came in by, or NULL */
	struct flow_net lan[REPLAY_MAX_LIST];
	unsigned n_lan;
	struct flow_addr router[REPLAY_MAX_LIST];
	unsigned n_router;
	const char *down[REPLAY_MAX_LIST]; /* names of links */
	unsigned n_down;
	const char *timeouts[REPLAY_MAX_LIST]; /* for flow_table_set_timeout() */
	unsigned n_timeouts;
	enum replay_simulation simulation;
	uint64_t sim_flows; /* resample: flows drawn */
	uint64_t sim_seeds; /* resample: runs, with seed, seed + 1, ... */
	uint64_t sim_load; /* resample: percent of the links' total capacity */
	double sim_delay; /* ms that the report of a flow's end takes */
	bool sim_learn; /* the end of datagrams is not seen, but taken from their class */
	uint64_t sim_idle_share; /* percent of TCP flows that stay open ... */
	uint64_t sim_idle_time; /* ... for so many ms */
	const char *sim_series; /* file for what each link did each second, or NULL */
};

/* Why a packet took no part in any flow, beyond what link_strip() and decode_packet() say */
enum replay_skip {
	SKIP_CONTROL, /* ICMP errors and answers: related to other flows, never new ones */
	SKIP_LOCAL, /* multicast, broadcast, link-local: no router forwards it */
	REPLAY_SKIPS
};

struct replay_counts {
	uint64_t packets;
	uint64_t link[LINK_RESULTS]; /* packets, by what link_strip() said */
	uint64_t decode[DECODE_RESULTS]; /* the same of those it found to be IP */
	uint64_t skipped[REPLAY_SKIPS]; /* the same of those that were decoded */
	uint64_t flows;
	uint64_t inbound; /* flows that do not lead from the LAN to the outside */
	uint64_t action[DECISION_ACTIONS]; /* flows */
	/* by link index */
	uint64_t link_flows[CONFIG_MAX_LINKS];
	uint64_t link_packets[CONFIG_MAX_LINKS];
	uint64_t link_bytes[CONFIG_MAX_LINKS]; /* on the wire, of IP */
};

/* replay_options.c: exits on --help and --version; false after a message */
bool replay_options_parse(struct replay_options *options, int argc, char **argv);

/* replay_sim.c: simulate the flows of the table and print every contender's slowdown */
bool replay_simulate(const struct replay_options *options, const struct policy *policy, const struct flow_table *table);

/* replay_print.c: to standard output */
void replay_print_header(const struct replay_options *options);
void replay_print_decision(const struct replay_options *options, const struct config *config, int64_t time_us,
			   const struct flow *flow, const struct decision *decision);
void replay_print_flows(const struct replay_options *options, const struct flow_table *table);
void replay_print_summary(const struct replay_options *options, const struct config *config,
			  const struct link_runtime *runtime, const struct replay_counts *counts);

#endif
