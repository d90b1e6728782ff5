/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/match.c - the first rule that matches a flow, and why another does not
 */
#include "policy/policy_private.h"

#include <assert.h>

/* ---- the conditions of a rule, one by one ---- */

static bool in_bytes(const uint8_t *list, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i] == value)
			return true;
	}
	return !n;
}

static bool in_ranges(const struct port_range *list, size_t n, const struct flow *flow, uint16_t port)
{
	for (size_t i = 0; i < n; i++) {
		if (flow->ports && port >= list[i].first && port <= list[i].last)
			return true;
	}
	return !n;
}

static bool in_nets(const struct flow_net *list, size_t n, const struct flow *flow, const struct flow_addr *addr)
{
	for (size_t i = 0; i < n; i++) {
		if (list[i].family == flow->family && flow_net_contains(&list[i], addr))
			return true;
	}
	return !n;
}

static bool protocol_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_bytes(rule->protocols, rule->n_protocols, flow->protocol);
}

static bool dport_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_ranges(rule->dports, rule->n_dports, flow, flow->dport);
}

static bool sport_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_ranges(rule->sports, rule->n_sports, flow, flow->sport);
}

static bool source_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_nets(rule->sources, rule->n_sources, flow, &flow->src);
}

static bool destination_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_nets(rule->destinations, rule->n_destinations, flow, &flow->dst);
}

static bool iface_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)flow;
	for (size_t i = 0; i < rule->n_ifaces; i++) {
		if (rule->ifaces[i] == meta->iface)
			return true;
	}
	return !rule->n_ifaces;
}

static bool dscp_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)meta;
	return in_bytes(rule->dscps, rule->n_dscps, flow->dscp);
}

static bool mark_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)flow;
	return classifier_marks_hold(rule, meta);
}

static bool router_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)flow;
	return !rule->from_router || meta->from_router;
}

static bool lan_holds(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	(void)flow;
	return !rule->from_lan || !meta->from_router;
}

/* In the order in which `explain` names what fails */
static const struct condition {
	const char *name;
	bool (*holds)(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta);
} conditions[] = {
	{ "not from the router", router_holds },
	{ "protocol", protocol_holds },
	{ "port", dport_holds },
	{ "source-port", sport_holds },
	{ "source", source_holds },
	{ "destination", destination_holds },
	{ "interface", iface_holds },
	{ "dscp", dscp_holds },
	{ "mark", mark_holds },
	{ "not from the LAN", lan_holds },
};

const char *policy_mismatch(const struct policy *policy, unsigned index, const struct flow *flow,
			    const struct flow_meta *meta)
{
	const struct rule_config *rule = &policy->config->rules[index];

	for (size_t i = 0; i < sizeof(conditions) / sizeof(*conditions); i++) {
		if (!conditions[i].holds(rule, flow, meta))
			return conditions[i].name;
	}
	return NULL;
}

void policy_classify(const struct policy *policy, const struct flow *flow, const struct flow_meta *meta,
		     struct policy_classes *out)
{
	classifier_classes(policy->classifier, flow, meta, out);
}

unsigned policy_match(const struct policy *policy, const struct flow *flow, const struct flow_meta *meta)
{
	struct policy_classes classes;

	policy_classify(policy, flow, meta, &classes);
	return policy_match_classes(policy, &classes, meta);
}

unsigned policy_match_classes(const struct policy *policy, const struct policy_classes *classes,
			      const struct flow_meta *meta)
{
	const unsigned index = classifier_first(policy->classifier, classes, meta);

	assert(index < policy->config->n_rules); /* the last rule matches all */
	return index;
}
