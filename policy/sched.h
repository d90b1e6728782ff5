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

/* What wrr remembers of one link in one group. One writer; `explain` looks at it from another thread */
struct sched_wrr {
	_Atomic int64_t credit; /* gained less paid */
	_Atomic uint32_t weight; /* at its last turn: a change shows */
};

/* What latency remembers of one group; the same */
struct sched_latency {
	_Atomic uint64_t tried; /* bit i: links[i] was given a flow to be measured by */
	_Atomic uint32_t turns;
};

struct sched_state {
	/* by group slot and link index; the last row serves links without a group (if-down = other) */
	struct sched_wrr wrr[CONFIG_MAX_GROUPS + 1][CONFIG_MAX_LINKS];
	struct sched_latency latency[CONFIG_MAX_GROUPS + 1];
};

#define SCHED_SLOT_ANY CONFIG_MAX_GROUPS

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
