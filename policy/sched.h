/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched.h - schedulers: which of these links is next
 *
 * A scheduler chooses among `candidates` (never empty) by runtime weight. One
 * sched_state per worker, zeroed at first; it is not shared. A new scheduler touches three files:
 * its own, the table in sched.c and enum scheduler in config.h.
 *
 *   wrr   smooth weighted round robin, as nginx does it: each turn every candidate
 *         gains its weight, the richest is picked and pays the sum. No bursts;
 *         exact over any whole round.
 *   hash  weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after
 *         Schindelhauer & Schomaker 2005): smallest -ln(h)/weight wins, in integers.
 *         Only flows of a changed link move.
 *   least-load  fewest flows sending now, counting the new one, per unit of capacity
 *         (join the shortest queue); what the age of the counts cannot tell apart is a
 *         tie, broken by wrr over the capacities.
 *   spillover  the first link, in the group's own order, whose traffic is below a
 *         share of its capacity; when there is none, least-load.
 *   latency  among the links below that share, the lowest measured round trip of
 *         handshakes; what differs by less than a tenth goes by least-load.
 */
#ifndef POLICY_SCHED_H
#define POLICY_SCHED_H

#include "policy/config.h"
#include "policy/flow.h"
#include "policy/load.h"
#include "policy/runtime.h"

#define SCHED_SLOT_ANY CONFIG_MAX_GROUPS

/* What wrr remembers of the links of one group, by link index. One writer; `explain` looks at
 * credits and weights from another thread */
struct sched_wrr {
	_Atomic int64_t credit[CONFIG_MAX_LINKS]; /* gained less paid */
	_Atomic uint32_t weight[CONFIG_MAX_LINKS]; /* at its last turn: a change shows */
	uint64_t known; /* the writer's alone: stamp of the line-up with just these weights; 0: look */
};

/* What latency remembers of one group; the same */
struct sched_latency {
	_Atomic uint64_t tried; /* bit i: links[i] was given a flow to be measured by */
	_Atomic uint32_t turns;
};

/* What follows from runtime values for a set of candidates (sched_lineup.c). The owner's alone */
struct sched_lineup {
	uint64_t candidates; /* 0: not made yet */
	uint32_t generation; /* of the runtime values */
	uint64_t stamp; /* another one for each line-up that this worker made */
	unsigned n;
	int64_t sum; /* of weights */
	uint8_t link[CONFIG_MAX_LINKS]; /* the candidates' indices, in order */
	/* by place in link[] */
	uint32_t weight[CONFIG_MAX_LINKS];
	uint32_t capacity[CONFIG_MAX_LINKS]; /* effective, scaled; not 0 */
	uint32_t inverse[CONFIG_MAX_LINKS]; /* of the capacity, times a number that is the same for all; rounded */
};

/* Of one group: two, as IPv4 and IPv6 may have candidates of their own */
struct sched_lineups {
	struct sched_lineup lineup[2];
	unsigned last; /* the one that was used last */
};

/* Of one worker, by group slot; the last row serves links without a group (if-down = other) */
struct sched_state {
	struct sched_wrr wrr[CONFIG_MAX_GROUPS + 1];
	struct sched_latency latency[CONFIG_MAX_GROUPS + 1];
	struct sched_lineups lineups[CONFIG_MAX_GROUPS + 1];
	uint64_t stamps; /* line-ups made so far */
	uint32_t unreported, noise; /* load.unreported, and by how much counts may then be off (sched_least_load.c) */
};

struct sched_input {
	unsigned slot; /* group slot, or SCHED_SLOT_ANY */
	uint64_t candidates; /* bit i: links[i]; not 0 */
	const struct link_runtime *runtime;
	const struct load *load; /* flows sending now: least-load, spillover, latency */
	const struct group_config *group; /* its order and threshold: spillover, latency */
	uint64_t hash; /* of what the group sticks to (source, or source and destination) */
};

/* Pick a link and account for it. Returns a link index, always one of the candidates. */
unsigned sched_pick(enum scheduler scheduler, struct sched_state *state, const struct sched_input *input);

/* What sched_pick() would return, state untouched; scores[i] (by link index) tells each
 * candidate's standing, higher is nearer. For `explain`. */
unsigned sched_peek(enum scheduler scheduler, const struct sched_state *state, const struct sched_input *input,
		    int64_t scores[CONFIG_MAX_LINKS]);

#endif
