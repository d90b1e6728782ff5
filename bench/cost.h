/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/cost.h - what the parts of bench/cost share
 *
 * cost.c has the curves and prints them, cost_measure.c times decisions,
 * cost_world.c makes up configurations and flows.
 */
#ifndef BENCH_COST_H
#define BENCH_COST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/decide.h"
#include "policy/decode.h"

#define COST_BATCH 64 /* decisions between two looks at the clock: a full batch of the daemon's */
#define COST_PACKET 64 /* bytes of a packet, at most */

struct cost_size {
	unsigned rules, links;
	enum scheduler scheduler;
	size_t sticky; /* clients, and entries in the table; 0: no stickiness */
};

/* Nanoseconds per decision, over batches */
struct cost_times {
	double median, p99;
};

struct cost_result {
	struct cost_times decide;
	struct cost_times decode_decide;
};

/* What compiling a policy takes */
struct cost_policy {
	double compile_ms;
	size_t kept; /* bytes of heap afterwards, the configuration included; 0 under a sanitizer, whose allocator does not tell */
};

/* ---- cost_world.c ---- */

#define COST_RECENT 256 /* flows of which some send another packet */

struct cost_world {
	uint64_t random;
	size_t clients;
	const struct config *config;
	struct flow past[COST_RECENT];
	uint64_t n_past;
};

struct cost_packet {
	uint8_t bytes[COST_PACKET];
	size_t len;
	struct flow flow;
	struct flow_meta meta;
};

uint64_t cost_random(uint64_t *state);

/* Links with IPv4 and IPv6, one group of all, rules as people write them, the last one
 * matches all. NULL: out of memory. */
struct config *cost_config(const struct cost_size *size, uint64_t seed);

void cost_world_init(struct cost_world *world, const struct config *config, size_t clients, uint64_t seed);

/* The next packet; mostly of a new flow */
void cost_world_packet(struct cost_world *world, struct cost_packet *out);

/* Some flow of this client */
struct flow cost_world_flow(struct cost_world *world, size_t client);

/* ---- cost_measure.c: false after a message ---- */

bool cost_measure(const struct cost_size *size, uint64_t seed, uint64_t decisions, struct cost_result *out);
bool cost_policy(const struct cost_size *size, uint64_t seed, struct cost_policy *out);

#endif
