/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/policy.c - compiling a configuration; which links a flow may use
 */
#include "policy/policy_private.h"

#include <stdlib.h>
#include <string.h>

static bool compile_group(struct tiers *tiers, const struct group_config *group)
{
	tiers->n = group->n_tiers;
	tiers->links = calloc(tiers->n, sizeof(*tiers->links));
	if (!tiers->links)
		return false;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (group->links & UINT64_C(1) << i)
			tiers->links[group->tier[i] - 1] |= UINT64_C(1) << i;
	}
	return true;
}

static bool compile_groups(struct policy *policy)
{
	const struct config *config = policy->config;

	policy->tiers = calloc(config->n_groups ? config->n_groups : 1, sizeof(*policy->tiers));
	if (!policy->tiers)
		return false;
	for (size_t i = 0; i < config->n_groups; i++) {
		if (!compile_group(&policy->tiers[i], &config->groups[i]))
			return false;
	}
	return true;
}

static void compile_links(struct policy *policy)
{
	policy->settled = config_mark_settled(policy->config->mask);
	for (size_t i = 0; i < policy->config->n_links; i++) {
		const struct link_config *link = &policy->config->links[i];
		const uint64_t bit = UINT64_C(1) << i;

		policy->link_mark[i] = config_mark_link(policy->config->mask, link->id);
		if (link->gateway.kind != GATEWAY_OFF)
			policy->carries4 |= bit;
		if (link->gateway6.kind == GATEWAY_OFF)
			continue;
		if (link->nat6.kind == NAT_NONE)
			policy->carries6_by_prefix |= bit;
		else
			policy->carries6 |= bit;
	}
}

static bool compile_verdicts(struct policy *policy)
{
	const struct config *config = policy->config;

	policy->verdicts = calloc(config->n_rules, sizeof(*policy->verdicts));
	if (!policy->verdicts)
		return false;
	for (size_t i = 0; i < config->n_rules; i++) {
		policy->verdicts[i] = (struct verdict){
			.action = (uint8_t)config->rules[i].action,
			.if_down = (uint8_t)config->rules[i].if_down,
			.target = (uint16_t)config->rules[i].target,
		};
	}
	return true;
}

struct policy *policy_compile(struct config *config)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy) {
		config_free(config);
		return NULL;
	}
	policy->config = config;
	compile_links(policy);
	policy->classifier = classifier_new(config->rules, config->n_rules);
	if (!policy->classifier || !compile_groups(policy) || !compile_verdicts(policy)) {
		policy_free(policy);
		return NULL;
	}
	return policy;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; policy->tiers && i < policy->config->n_groups; i++)
		free(policy->tiers[i].links);
	free(policy->tiers);
	free(policy->verdicts);
	classifier_free(policy->classifier);
	config_free(policy->config);
	free(policy);
}

const struct config *policy_config(const struct policy *policy)
{
	return policy->config;
}

uint16_t policy_iface_slot(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->config->n_ifaces; i++) {
		if (!strcmp(policy->config->ifaces[i], name))
			return (uint16_t)(i + 1);
	}
	return 0;
}

static bool in_prefixes(const struct link_config *link, const struct flow_addr *addr)
{
	for (size_t i = 0; i < link->n_prefixes6; i++) {
		if (flow_net_contains(&link->prefixes6[i], addr))
			return true;
	}
	return false;
}

uint64_t policy_candidates(const struct policy *policy, const struct flow *flow)
{
	uint64_t candidates = policy->carries6;

	if (flow->family == 4)
		return policy->carries4;
	for (uint64_t links = policy->carries6_by_prefix; links; links &= links - 1) {
		if (in_prefixes(&policy->config->links[__builtin_ctzll(links)], &flow->src))
			candidates |= links & -links;
	}
	return candidates;
}

uint64_t policy_best_tier(const struct policy *policy, unsigned group, uint64_t links)
{
	return tiers_best(&policy->tiers[group], links);
}
