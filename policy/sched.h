/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched.h - schedulers: which of these links is next
 *
 * A scheduler chooses among `candidates` (never empty) by runtime weight. One
 * sched_state per worker, zeroed at first; it is not shared. What a new scheduler touches
 * stands in NOTES.md, "Where is what".
 *
 *   wrr   in turns by weight, dealt down a tree of halves: no bursts, exact over any whole round.
 *   hash  weighted rendezvous hashing (Thaler & Ravishankar 1998; weights after
 *         Schindelhauer & Schomaker 2005): smallest -ln(h)/weight wins, in integers,
 *         for each of 65,536 buckets of flows. Only flows of a changed link move.
 *   least-load  fewest flows sending now, counting the new one, per unit of capacity
 *         (join the shortest queue); what the age of the counts cannot tell apart is a
 *         tie: then whose turn it is by capacity.
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

/* Turns in a tree over all links: node 1 is the root, n's halves are 2n and 2n + 1, link i is
 * CONFIG_MAX_LINKS + i (sched_turns.c). Weights are summed up; credits are whole numbers of the same unit. */
struct sched_turns {
	_Atomic int32_t lead[CONFIG_MAX_LINKS]; /* by node: credit of its left half less that of its right one */
	_Atomic int32_t after[2 * CONFIG_MAX_LINKS]; /* by node: what its turn adds to its parent's lead */
};

/* Where all candidates are in such a tree: below this node, so many levels down */
struct sched_span {
	unsigned root, levels;
};

/* How loaded candidates are, and which is the least (sched_counts.c) */
struct sched_counts {
	bool known;
	uint32_t seen_followed, seen_steered[CONFIG_MAX_QUEUES]; /* changes in load.followed, load.steered */
	double capacity[CONFIG_MAX_LINKS]; /* effective, scaled */
	double margin[CONFIG_MAX_LINKS]; /* load of as many flows as the count may be off, which are */
	double noise;
	/* by node of the tree: the least below it, and its link (sched_load_bits()) */
	uint64_t load[2 * CONFIG_MAX_LINKS];
};

/* Candidates in some order; bit p of `room`: the link at place p has room */
struct sched_order {
	uint8_t link[CONFIG_MAX_LINKS], place[CONFIG_MAX_LINKS];
	uint64_t room;
};

/* Which candidates have room, and what was measured of them (sched_room.c) */
struct sched_room {
	const struct group_config *group; /* NULL: not known */
	uint32_t measured; /* its generation */
	uint32_t flows[CONFIG_MAX_LINKS]; /* with so many, the new one included, there is still room */
	uint64_t links; /* bit i: links[i] has room */
	uint64_t unmeasured; /* bit i: no round trip of links[i] is known */
	struct sched_order listed, timed; /* as the group lists them; by round trip, measured ones only */
	uint64_t near[CONFIG_MAX_LINKS]; /* by place in `timed`: measured links that are not much farther */
};

/* What is kept for a set of candidates (sched_lineup.c) */
struct sched_lineup {
	_Atomic uint64_t candidates; /* 0: not made yet */
	uint32_t generation; /* of the runtime values */
	uint32_t stamp; /* below SCHED_STAMPS; another one for each line-up that this worker made */
	struct sched_span span;
	struct sched_turns by_weight, by_capacity;
	struct sched_counts counts;
	struct sched_room room;
};

#define SCHED_STAMPS (UINT32_C(1) << 24)
#define SCHED_BUCKETS 65536
#define SCHED_LINEUPS 4 /* IPv4 and IPv6, and IPv6 of different sources, may have candidates of their own */

/* Of one group. Others look at candidates, credits, next, tried and turns (`explain`); the rest is the owner's alone */
struct sched_group {
	struct sched_lineup lineup[SCHED_LINEUPS];
	unsigned last; /* the one that was used last */
	_Atomic unsigned next; /* the one that makes room for another */
	/* latency */
	_Atomic uint64_t tried; /* bit i: links[i] was given a flow to be measured by */
	_Atomic uint32_t turns;
};

/* Of one worker. Zeroed memory will do; most of it is never touched. */
struct sched_state {
	/* by slot; the last serves links without a group (if-down = other) */
	struct sched_group group[CONFIG_MAX_GROUPS + 1];
	_Atomic uint32_t stamps; /* line-ups made so far, modulo SCHED_STAMPS */
	uint32_t unreported; /* load.unreported, */
	double noise; /* and by how many flows counts may then be off (sched_least_load.c) */
	uint32_t bucket[SCHED_BUCKETS]; /* of hash: the line-up's stamp times CONFIG_MAX_LINKS, plus the link */
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
