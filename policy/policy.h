/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/policy.h - a configuration compiled for matching
 *
 * An immutable snapshot: compiled by the control thread, published by pointer,
 * read by every worker without a lock, freed after a grace period.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "policy/config.h"
#include "policy/flow.h"

#define POLICY_FIELDS 8 /* of a flow that rules have conditions on, but for marks */

struct policy; /* private: policy/policy_private.h */

/* Takes ownership of `config` (also freed when compiling fails). NULL: out of memory. */
struct policy *policy_compile(struct config *config);
void policy_free(struct policy *policy);

const struct config *policy_config(const struct policy *policy);

/* Slot of an interface name that some rule matches on, 0: none does */
uint16_t policy_iface_slot(const struct policy *policy, const char *name);

/* Index of the first rule that matches. Always one: the last matches all. */
unsigned policy_match(const struct policy *policy, const struct flow *flow, const struct flow_meta *meta);

/* The same in two steps: who has several flows at hand takes the first for all of them. It waits for
 * memory, but for different flows at the same time, as nothing in it depends on what is found. */
struct policy_classes {
	uint64_t shapes; /* of rules that may match (policy/classify.c) */
	uint32_t class[POLICY_FIELDS]; /* of each field of the flow */
};

void policy_classify(const struct policy *policy, const struct flow *flow, const struct flow_meta *meta,
		     struct policy_classes *out);
unsigned policy_match_classes(const struct policy *policy, const struct policy_classes *classes,
			      const struct flow_meta *meta);

/* The first condition of rule `index` that does not hold, for `explain`: "protocol",
 * "port", "source-port", "source", "destination", "interface", "dscp", "mark",
 * "not from the router", "not from the LAN"; NULL when the rule matches. Not for the hot path. */
const char *policy_mismatch(const struct policy *policy, unsigned index, const struct flow *flow,
			    const struct flow_meta *meta);

/* Links that can carry this flow whatever their state: the family is configured
 * and, for IPv6 without NAT, the source lies in one of the link's prefixes. Bit i: links[i]. */
uint64_t policy_candidates(const struct policy *policy, const struct flow *flow);

/* Of `links`, those in the best tier of the group that has any; 0 when the group has none of them */
uint64_t policy_best_tier(const struct policy *policy, unsigned group, uint64_t links);

#endif
