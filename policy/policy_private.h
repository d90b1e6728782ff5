/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/policy_private.h - between policy.c, match.c and decide.c
 */
#ifndef POLICY_POLICY_PRIVATE_H
#define POLICY_POLICY_PRIVATE_H

#include "policy/classify.h"
#include "policy/policy.h"

/* Links of one group, by tier, the first tier first */
struct tiers {
	uint64_t *links;
	unsigned n;
};

/* What a rule says, apart from its conditions: eight of them in a line of the cache */
struct verdict {
	uint8_t action; /* enum rule_action */
	uint8_t if_down; /* enum if_down */
	uint16_t target;
};

struct policy {
	struct config *config;
	struct classifier *classifier; /* of the rules */
	struct verdict *verdicts; /* by rule */
	struct tiers *tiers; /* by group index */
	uint32_t link_mark[CONFIG_MAX_LINKS]; /* config_mark_link() by link index */
	uint32_t settled; /* config_mark_settled() */
	uint64_t carries4; /* links that IPv4 may use */
	uint64_t carries6; /* links that any IPv6 source may use: with NAT */
	uint64_t carries6_by_prefix; /* links that an IPv6 source of their prefixes may use */
};

/* policy_best_tier() */
static inline uint64_t tiers_best(const struct tiers *tiers, uint64_t links)
{
	for (unsigned i = 0; i < tiers->n; i++) {
		if (tiers->links[i] & links)
			return tiers->links[i] & links;
	}
	return 0;
}

#endif
