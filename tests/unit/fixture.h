/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/fixture.h - configurations made by hand, and a decider over them
 */
#ifndef TESTS_UNIT_FIXTURE_H
#define TESTS_UNIT_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy/decide.h"

#define FIXTURE_MASK 0xff00u
#define FIXTURE_SETTLED 0x8000u
#define FIXTURE_WAITING 0x8000u
#define FIXTURE_MAIN 0xff00u
#define FIXTURE_REJECT 0xfe00u

static inline void *fixture_zeroed(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	assert_non_null(memory);
	return memory;
}

/* Append one element to a list of the configuration */
#define fixture_append(list, count, element)                               \
	do {                                                               \
		(list) = realloc((list), ((count) + 1) * sizeof(*(list))); \
		assert_non_null(list);                                     \
		(list)[(count)++] = (element);                             \
	} while (0)

static inline struct flow_addr fixture_addr(const char *text)
{
	struct flow_addr addr = { { 0 } };

	assert_int_not_equal(flow_addr_parse(text, &addr), 0);
	return addr;
}

static inline struct flow_net fixture_net(const char *text)
{
	struct flow_net net = { .bits = 0 };

	assert_true(flow_net_parse(text, &net));
	return net;
}

static inline struct config *fixture_empty(void)
{
	struct config *config = fixture_zeroed(1, sizeof(*config));

	config->mask = FIXTURE_MASK;
	config->checksum = 1;
	return config;
}

static inline struct link_config *fixture_link(struct config *config, unsigned id, uint32_t weight)
{
	struct link_config link = {
		.id = id,
		.weight = weight,
		.gateway = { .kind = GATEWAY_AUTO },
		.nat = { .kind = NAT_MASQUERADE },
	};

	snprintf(link.name, sizeof(link.name), "wan%u", id);
	fixture_append(config->links, config->n_links, link);
	return &config->links[config->n_links - 1];
}

/* Give a link IPv6 without NAT, for clients of `prefix` */
static inline void fixture_prefix6(struct link_config *link, const char *prefix)
{
	link->gateway6.kind = GATEWAY_AUTO;
	fixture_append(link->prefixes6, link->n_prefixes6, fixture_net(prefix));
}

/* A group of all links in one tier */
static inline struct group_config *fixture_group(struct config *config, enum sticky_kind sticky)
{
	struct group_config group = {
		.sticky = sticky,
		.sticky_timeout = 600,
		.n_tiers = 1,
		.slot = (unsigned)config->n_groups,
	};

	snprintf(group.name, sizeof(group.name), "group%zu", config->n_groups);
	for (size_t i = 0; i < config->n_links; i++) {
		group.links |= UINT64_C(1) << i;
		group.tier[i] = 1;
	}
	fixture_append(config->groups, config->n_groups, group);
	return &config->groups[config->n_groups - 1];
}

static inline struct rule_config *fixture_rule(struct config *config, enum rule_action action, unsigned target)
{
	struct rule_config rule = { .action = action, .target = target };

	snprintf(rule.name, sizeof(rule.name), "rule%zu", config->n_rules);
	fixture_append(config->rules, config->n_rules, rule);
	return &config->rules[config->n_rules - 1];
}

/* Three links of weight 3:2:1 (IPv6 on the first two), one group, one rule: everything uses the group */
static inline struct config *fixture_balanced(enum sticky_kind sticky)
{
	struct config *config = fixture_empty();

	fixture_prefix6(fixture_link(config, 1, 3), "2001:db8:1::/48");
	fixture_prefix6(fixture_link(config, 5, 2), "2001:db8:2::/48");
	fixture_link(config, 9, 1);
	fixture_group(config, sticky);
	fixture_rule(config, RULE_GROUP, 0);
	return config;
}

static inline struct flow fixture_flow(const char *src, const char *dst, uint8_t protocol, uint16_t sport,
				       uint16_t dport)
{
	struct flow flow = {
		.sport = sport,
		.dport = dport,
		.family = strchr(src, ':') ? 6 : 4,
		.protocol = protocol,
		.ports = protocol == 6 || protocol == 17,
	};

	flow.src = fixture_addr(src);
	flow.dst = fixture_addr(dst);
	return flow;
}

static const struct flow_meta fixture_waiting = { .mark = FIXTURE_WAITING };

/* ---- a decider and all it needs ---- */

struct fixture {
	struct link_runtime runtime;
	struct load load;
	struct decider decider;
};

static inline struct fixture *fixture_new(struct config *config)
{
	struct fixture *fixture = aligned_alloc(_Alignof(struct fixture), sizeof(*fixture));

	assert_non_null(fixture);
	memset(fixture, 0, sizeof(*fixture));
	link_runtime_init(&fixture->runtime, config);
	fixture->decider.policy = policy_compile(config);
	fixture->decider.runtime = &fixture->runtime;
	fixture->load.workers = 1;
	fixture->decider.load = &fixture->load;
	fixture->decider.sticky = sticky_new(4096);
	fixture->decider.sched = fixture_zeroed(1, sizeof(*fixture->decider.sched));
	fixture->decider.recent = recent_new(10);
	fixture->decider.key[0] = 0x0123456789abcdef;
	fixture->decider.key[1] = 0xfedcba9876543210;
	assert_non_null(fixture->decider.policy);
	assert_non_null(fixture->decider.sticky);
	assert_non_null(fixture->decider.recent);
	return fixture;
}

static inline void fixture_replace_policy(struct fixture *fixture, struct config *config)
{
	struct policy *old;

	memcpy(&old, &fixture->decider.policy, sizeof(old));
	policy_free(old);
	fixture->decider.policy = policy_compile(config);
	assert_non_null(fixture->decider.policy);
}

static inline void fixture_free(struct fixture *fixture)
{
	struct policy *policy;

	memcpy(&policy, &fixture->decider.policy, sizeof(policy));
	policy_free(policy);
	sticky_free(fixture->decider.sticky);
	free(fixture->decider.sched);
	recent_free(fixture->decider.recent);
	free(fixture);
}

static inline void fixture_usable(struct fixture *fixture, uint64_t links)
{
	link_runtime_set_usable(&fixture->runtime, 4, links);
	link_runtime_set_usable(&fixture->runtime, 6, links);
}

/* ---- randomness with a seed that is printed, and taken from SEED ---- */

static inline uint64_t fixture_seed(void)
{
	const char *text = getenv("SEED");
	uint64_t seed = 20240229;

	if (text)
		seed = strtoull(text, NULL, 0);
	print_message("SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static inline uint64_t fixture_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint32_t fixture_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(fixture_random(state) >> 32) % n;
}

#endif
