/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/policy_private.h - between policy.c and match.c
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

struct policy {
	struct config *config;
	struct classifier *classifier; /* of the rules */
	struct tiers *tiers; /* by group index */
	uint64_t carries4; /* links that IPv4 may use */
	uint64_t carries6; /* links that any IPv6 source may use: with NAT */
	uint64_t carries6_by_prefix; /* links that an IPv6 source of their prefixes may use */
};

#endif
