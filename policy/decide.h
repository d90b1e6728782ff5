/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/decide.h - the decision: flow -> rule -> group -> link
 *
 * Pure: no clock, no fd, no log. The daemon's workers, bench/replay, the unit
 * tests and the fuzzers call the same decide(). It fills one struct:
 * one packet, one verdict, by construction.
 */
#ifndef POLICY_DECIDE_H
#define POLICY_DECIDE_H

#include "policy/policy.h"
#include "policy/recent.h"
#include "policy/runtime.h"
#include "policy/sched.h"
#include "policy/sticky.h"

/* What one worker decides with. Everything but `sched` and `recent` is shared. */
struct decider {
	const struct policy *policy; /* swapped between batches, never within one */
	const struct link_runtime *runtime;
	struct sticky *sticky;
	struct sched_state *sched;
	struct recent *recent;
	struct load *load; /* NULL: nobody counts */
	unsigned worker; /* which of load->steered is this worker's */
	uint64_t key[2]; /* of every hash; random per process, fixed in tests. Same for all workers */
};

enum decision_action {
	DECISION_LINK, /* leave by `link` */
	DECISION_BYPASS, /* not ours: mark `main` */
	DECISION_REJECT, /* mark `reject` */
	DECISION_NONE, /* no usable link: the kernel's fallback takes it */
	DECISION_ACTIONS
};

enum decision_reason {
	REASON_PINNED, /* the rule names the link */
	REASON_SCHEDULED, /* the group's scheduler chose */
	REASON_STICKY, /* the client's (and server's) last link */
	REASON_REPEAT, /* another packet of a flow just decided */
	REASON_OTHER, /* the rule's link is down: another one */
	REASON_RULE, /* bypass, by rule */
	REASON_LINK_DOWN, /* reject: the rule's link is down */
	REASON_NO_LINK, /* no link is usable for this flow */
	DECISION_REASONS
};

struct decision {
	enum decision_action action;
	enum decision_reason reason;
	uint16_t rule; /* index into config.rules */
	int16_t group; /* index into config.groups, or -1 */
	int16_t link; /* index into config.links, or -1 */
	uint32_t packet_mark; /* all 32 bits of the packet mark for the verdict; foreign bits kept */
	uint32_t ct_mark; /* masked bits for the conntrack mark (link bits, settled); 0: leave it */
	uint64_t tuple; /* flow_hash_tuple() of the flow: how feedback knows it again */
};

/* Decide a new flow and account for it. `now` in ms, monotonic. */
struct decision decide(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, uint64_t now);

/* The same in two steps, for who has several flows at hand: decide_prepare() for all of them,
 * then decide_prepared() for each, in order, with what the first said, and the same policy. Memory that
 * decisions wait for is then fetched while others are made, and the answer is written where it is wanted. */
struct decide_prepared {
	const struct policy *policy;
	uint64_t tuple;
	struct policy_classes classes;
};

void decide_prepare(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
		    struct decide_prepared *out);
void decide_prepared(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, uint64_t now,
		     const struct decide_prepared *prepared, struct decision *out);

/* What decide() would say of a flow that is not in flight; nothing is accounted.
 * `scores` as of sched_peek(). `sticky_age` in ms, set when the reason is REASON_STICKY. */
struct decision decide_peek(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
			    uint64_t now, int64_t scores[CONFIG_MAX_LINKS], uint64_t *sticky_age);

/* Put a flow that is known to use `link_id` into the sticky table, as if decided now
 * (start of the daemon: the kernel's connections tell where clients were). */
void decide_learn(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, unsigned link_id,
		  uint64_t now);

const char *decision_action_name(enum decision_action action);
const char *decision_reason_name(enum decision_reason reason);

#endif
