/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/random_config.h - random configurations and flows that meet
 *
 * Values come from small pools, so that rules hit, miss by one and shadow each
 * other. With oracle_match(): the first rule that matches, found the slow way,
 * one bit and one list entry at a time, and written apart from the code under test.
 */
#ifndef TESTS_UNIT_RANDOM_CONFIG_H
#define TESTS_UNIT_RANDOM_CONFIG_H

#include "tests/unit/fixture.h"

#define RANDOM_IFACES 4
#define ONE_IN(n) (!fixture_below(r, (n)))

static const char *const random_addrs[] = {
	"10.1.0.7",	    "10.1.0.8",
	"10.1.1.7",	    "10.2.0.7",
	"192.0.2.1",	    "203.0.113.9",
	"0.0.0.0",	    "255.255.255.255",
	"2001:db8:1::7",    "2001:db8:1::8",
	"2001:db8:1:1::7",  "2001:db8:2::7",
	"2001:db8:ffff::1", "::1",
	"fe80::1",	    "2001:db8:1:0:ffff:ffff:ffff:ffff",
	"2001:db8:1:1::",   "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
};
static const char *const random_nets[] = {
	"10.1.0.7/32",	  "10.1.0.0/24", "10.1.0.0/16",	      "10.0.0.0/8",	 "0.0.0.0/0",
	"203.0.113.8/31", "128.0.0.0/1", "2001:db8:1::7/128", "2001:db8:1::/64", "2001:db8:1::/48",
	"2001:db8::/32",  "::/0",	 "8000::/1",	      "fe80::/10",
};
static const uint16_t random_ports[] = { 0, 1, 22, 25, 53, 79, 80, 81, 443, 1023, 1024, 50000, 65534, 65535 };
static const uint8_t random_protocols[] = { 1, 6, 17, 33, 47, 50, 58, 132, 136, 0, 255 };
static const uint32_t random_marks[] = { 0, 1, 2, 3, 0x10000, 0x80000000, 0xff0000 };

#define PICK(pool) ((pool)[fixture_below(r, sizeof(pool) / sizeof(*(pool)))])

static inline bool random_has_ports(uint8_t protocol)
{
	return protocol == 6 || protocol == 17 || protocol == 33 || protocol == 132 || protocol == 136;
}

static inline struct port_range random_range(uint64_t *r)
{
	const uint16_t a = PICK(random_ports), b = ONE_IN(2) ? a : PICK(random_ports);

	return (struct port_range){ .first = a < b ? a : b, .last = a < b ? b : a };
}

/* One of the pool, or any prefix of an address of the pool */
static inline struct flow_net random_net(uint64_t *r)
{
	struct flow_net net = fixture_net(PICK(random_nets));

	if (ONE_IN(2))
		return net;
	net.family = (uint8_t)flow_addr_parse(PICK(random_addrs), &net.addr);
	net.bits = (uint8_t)(net.family == 4 ? 96 + fixture_below(r, 33) : fixture_below(r, 129));
	for (unsigned bit = net.bits; bit < 128; bit++)
		net.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return net;
}

/* Each condition is stated by one rule in `sparse` */
static inline void random_conditions(uint64_t *r, struct rule_config *rule, unsigned sparse)
{
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 3) : 0; n; n--)
		fixture_append(rule->protocols, rule->n_protocols, PICK(random_protocols));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 4) : 0; n; n--)
		fixture_append(rule->dports, rule->n_dports, random_range(r));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 2) : 0; n; n--)
		fixture_append(rule->sports, rule->n_sports, random_range(r));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 3) : 0; n; n--)
		fixture_append(rule->sources, rule->n_sources, random_net(r));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 3) : 0; n; n--)
		fixture_append(rule->destinations, rule->n_destinations, random_net(r));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 2) : 0; n; n--)
		fixture_append(rule->ifaces, rule->n_ifaces, (uint16_t)(1 + fixture_below(r, RANDOM_IFACES)));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 2) : 0; n; n--)
		fixture_append(rule->dscps, rule->n_dscps, (uint8_t)(fixture_below(r, 3) * 31));
	for (unsigned n = ONE_IN(sparse) ? 1 + fixture_below(r, 2) : 0; n; n--) {
		const uint32_t mask = PICK(random_marks);
		const struct mark_match mark = { .mask = mask, .value = mask & PICK(random_marks) };

		fixture_append(rule->marks, rule->n_marks, mark);
	}
	rule->from_router = ONE_IN(2 * sparse);
	rule->from_lan = !rule->from_router && ONE_IN(2 * sparse);
}

/* Links and groups as given, `n` random rules and a last one that matches all */
static inline void random_rules(uint64_t *r, struct config *config, unsigned n)
{
	const unsigned sparse = 2 + fixture_below(r, 6);

	for (unsigned i = 0; i <= n; i++) {
		struct rule_config *rule = fixture_rule(config, RULE_BYPASS, 0);

		if (i < n && !ONE_IN(50))
			random_conditions(r, rule, sparse);
		rule->action = (enum rule_action)fixture_below(r, 3);
		if (rule->action == RULE_GROUP)
			rule->target = fixture_below(r, (uint32_t)config->n_groups);
		else if (rule->action == RULE_LINK)
			rule->target = fixture_below(r, (uint32_t)config->n_links);
		rule->if_down = ONE_IN(2) ? IF_DOWN_OTHER : IF_DOWN_REJECT;
	}
}

static inline struct flow random_flow(uint64_t *r, struct flow_meta *meta)
{
	const char *src = PICK(random_addrs), *dst = src;
	struct flow flow;

	while (!strchr(src, ':') != !strchr(dst, ':') || dst == src)
		dst = PICK(random_addrs);
	flow = fixture_flow(src, dst, PICK(random_protocols), 0, 0);
	flow.ports = random_has_ports(flow.protocol);
	if (flow.ports || flow.protocol == 1)
		flow.sport = PICK(random_ports);
	if (flow.ports)
		flow.dport = PICK(random_ports);
	flow.dscp = (uint8_t)(fixture_below(r, 3) * 31);
	meta->mark = FIXTURE_WAITING | PICK(random_marks) | PICK(random_marks);
	meta->iface = (uint16_t)fixture_below(r, RANDOM_IFACES + 1);
	meta->from_router = ONE_IN(4);
	return flow;
}

/* ---- the oracle ---- */

static inline bool oracle_in_net(const struct flow_net *net, const struct flow *flow, const struct flow_addr *addr)
{
	if (net->family != flow->family)
		return false;
	for (unsigned bit = 0; bit < net->bits; bit++) {
		const unsigned shift = 7 - bit % 8;

		if ((net->addr.b[bit / 8] >> shift & 1) != (addr->b[bit / 8] >> shift & 1))
			return false;
	}
	return true;
}

#define ORACLE_ANY(list, n, test)                \
	do {                                     \
		bool any = (n) == 0;             \
		for (size_t i = 0; i < (n); i++) \
			any |= (test);           \
		if (!any)                        \
			return false;            \
	} while (0)

static inline bool oracle_rule(const struct rule_config *rule, const struct flow *flow, const struct flow_meta *meta)
{
	const bool ports = random_has_ports(flow->protocol);

	if ((rule->from_router && !meta->from_router) || (rule->from_lan && meta->from_router))
		return false;
	ORACLE_ANY(rule->protocols, rule->n_protocols, rule->protocols[i] == flow->protocol);
	ORACLE_ANY(rule->dports, rule->n_dports,
		   ports && rule->dports[i].first <= flow->dport && flow->dport <= rule->dports[i].last);
	ORACLE_ANY(rule->sports, rule->n_sports,
		   ports && rule->sports[i].first <= flow->sport && flow->sport <= rule->sports[i].last);
	ORACLE_ANY(rule->sources, rule->n_sources, oracle_in_net(&rule->sources[i], flow, &flow->src));
	ORACLE_ANY(rule->destinations, rule->n_destinations, oracle_in_net(&rule->destinations[i], flow, &flow->dst));
	ORACLE_ANY(rule->ifaces, rule->n_ifaces, rule->ifaces[i] == meta->iface);
	ORACLE_ANY(rule->dscps, rule->n_dscps, rule->dscps[i] == flow->dscp);
	ORACLE_ANY(rule->marks, rule->n_marks, ((meta->mark ^ rule->marks[i].value) & rule->marks[i].mask) == 0);
	return true;
}

static inline unsigned oracle_match(const struct config *config, const struct flow *flow, const struct flow_meta *meta)
{
	unsigned rule = 0;

	while (!oracle_rule(&config->rules[rule], flow, meta))
		rule++;
	return rule;
}

#endif
