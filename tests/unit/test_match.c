/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_match.c - which rule a flow meets, and which links may carry it
 */
#include "tests/unit/random_config.h"

/* One rule under test and one that takes the rest */
static struct config *two_rules(struct rule_config **rule)
{
	struct config *config = fixture_balanced(STICKY_NONE);

	fixture_rule(config, RULE_BYPASS, 0);
	*rule = &config->rules[0];
	return config;
}

/* NULL when the first rule matches, else what kept it from matching */
static const char *why_not(const struct policy *policy, const struct flow *flow, const struct flow_meta *meta)
{
	const char *why = policy_mismatch(policy, 0, flow, meta);

	assert_int_equal(policy_match(policy, flow, meta), why ? 1 : 0);
	return why;
}

static void test_protocol_and_ports(void **state)
{
	const struct flow_meta meta = fixture_waiting;
	struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct rule_config *rule;
	struct config *config = two_rules(&rule);
	struct policy *policy;

	(void)state;
	fixture_append(rule->protocols, rule->n_protocols, 6);
	fixture_append(rule->protocols, rule->n_protocols, 1);
	fixture_append(rule->dports, rule->n_dports, ((struct port_range){ 0, 24 }));
	fixture_append(rule->dports, rule->n_dports, ((struct port_range){ 25, 25 }));
	fixture_append(rule->sports, rule->n_sports, ((struct port_range){ 50000, 65535 }));
	policy = policy_compile(config);
	assert_null(why_not(policy, &flow, &meta));
	flow.dport = 26;
	assert_string_equal(why_not(policy, &flow, &meta), "port");
	flow.dport = 0;
	assert_null(why_not(policy, &flow, &meta));
	flow.sport = 49999;
	assert_string_equal(why_not(policy, &flow, &meta), "source-port");
	flow.protocol = 17;
	assert_string_equal(why_not(policy, &flow, &meta), "protocol");
	flow.protocol = 1; /* no ports: its identifier and port 0 match no port */
	flow.ports = false;
	flow.sport = 50000;
	assert_string_equal(why_not(policy, &flow, &meta), "port");
	policy_free(policy);
}

static void test_networks(void **state)
{
	const struct flow_meta meta = fixture_waiting;
	struct flow v4 = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct flow v6 = fixture_flow("2001:db8:1::7", "2001:db8:ffff::1", 6, 50000, 25);
	struct rule_config *rule;
	struct config *config = two_rules(&rule);
	struct policy *policy;

	(void)state;
	fixture_append(rule->sources, rule->n_sources, fixture_net("10.1.0.0/24"));
	fixture_append(rule->sources, rule->n_sources, fixture_net("2001:db8:1::/48"));
	fixture_append(rule->destinations, rule->n_destinations, fixture_net("::/0"));
	fixture_append(rule->destinations, rule->n_destinations, fixture_net("203.0.113.9"));
	policy = policy_compile(config);
	assert_null(why_not(policy, &v4, &meta));
	assert_null(why_not(policy, &v6, &meta));
	v4.dst = fixture_addr("203.0.113.8"); /* which ::/0 does not hold */
	assert_string_equal(why_not(policy, &v4, &meta), "destination");
	v4.src = fixture_addr("10.1.1.7");
	assert_string_equal(why_not(policy, &v4, &meta), "source");
	v6.src = fixture_addr("2001:db8:2::7");
	assert_string_equal(why_not(policy, &v6, &meta), "source");
	v6.src = fixture_addr("10.1.0.7"); /* a forged ::ffff:10.1.0.7 is no client of the LAN */
	assert_string_equal(why_not(policy, &v6, &meta), "source");
	policy_free(policy);
}

static void test_what_the_kernel_knows(void **state)
{
	struct flow_meta meta = { .mark = FIXTURE_WAITING | 0x20000, .iface = 2 };
	struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct rule_config *rule;
	struct config *config = two_rules(&rule);
	struct policy *policy;

	(void)state;
	fixture_append(rule->ifaces, rule->n_ifaces, 2);
	fixture_append(rule->dscps, rule->n_dscps, 8);
	fixture_append(rule->marks, rule->n_marks, ((struct mark_match){ .value = 0x20000, .mask = 0xff0000 }));
	rule->from_lan = true;
	policy = policy_compile(config);
	flow.dscp = 8;
	assert_null(why_not(policy, &flow, &meta));
	meta.from_router = true;
	assert_string_equal(why_not(policy, &flow, &meta), "not from the LAN");
	meta.mark |= 0x10000;
	assert_string_equal(why_not(policy, &flow, &meta), "mark");
	flow.dscp = 0;
	assert_string_equal(why_not(policy, &flow, &meta), "dscp");
	meta.iface = 0;
	assert_string_equal(why_not(policy, &flow, &meta), "interface");
	policy_free(policy);
}

static void test_from_router(void **state)
{
	struct flow_meta meta = fixture_waiting;
	const struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct rule_config *rule;
	struct config *config = two_rules(&rule);
	struct policy *policy;

	(void)state;
	rule->from_router = true;
	policy = policy_compile(config);
	assert_string_equal(why_not(policy, &flow, &meta), "not from the router");
	meta.from_router = true;
	assert_null(why_not(policy, &flow, &meta));
	policy_free(policy);
}

static void test_first_of_several(void **state)
{
	const struct flow_meta meta = fixture_waiting;
	struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct config *config = fixture_balanced(STICKY_NONE);
	struct policy *policy;

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		fixture_rule(config, RULE_BYPASS, 0);
	for (uint16_t i = 0; i < 300; i++) {
		struct rule_config *rule = &config->rules[i];

		fixture_append(rule->dports, rule->n_dports, ((struct port_range){ i, (uint16_t)(i + 10) }));
	}
	policy = policy_compile(config);
	for (uint16_t port = 0; port < 400; port++) {
		flow.dport = port;
		assert_int_equal(policy_match(policy, &flow, &meta), port < 10 ? 0 : port > 309 ? 300 : port - 10);
	}
	policy_free(policy);
}

static void test_candidates(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct flow v4 = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 25);
	struct flow v6 = fixture_flow("2001:db8:1::7", "2001:db8:ffff::1", 6, 50000, 25);
	struct link_config *link;
	struct policy *policy;

	(void)state;
	link = fixture_link(config, 12, 1); /* bit 3: IPv6 alone, with NAT */
	link->gateway.kind = GATEWAY_OFF;
	link->gateway6.kind = GATEWAY_NONE;
	link->nat6.kind = NAT_MASQUERADE;
	link = fixture_link(config, 13, 1); /* bit 4: two prefixes, one of them the first link's */
	fixture_prefix6(link, "2001:db8:4::/48");
	fixture_prefix6(link, "2001:db8:1::/64");
	fixture_link(config, 14, 1)->nat6.kind = NAT_MASQUERADE; /* bit 5: translates what it does not carry */
	policy = policy_compile(config);
	assert_int_equal(policy_candidates(policy, &v4), 0x37);
	assert_int_equal(policy_candidates(policy, &v6), 0x19);
	v6.src = fixture_addr("2001:db8:2::7");
	assert_int_equal(policy_candidates(policy, &v6), 0x0a);
	v6.src = fixture_addr("2001:db8:4:9::7");
	assert_int_equal(policy_candidates(policy, &v6), 0x18);
	v6.src = fixture_addr("2001:db8:9::7");
	assert_int_equal(policy_candidates(policy, &v6), 0x08);
	policy_free(policy);
}

static void test_iface_slots(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct policy *policy;

	(void)state;
	fixture_append(config->ifaces, config->n_ifaces, strdup("eth0"));
	fixture_append(config->ifaces, config->n_ifaces, strdup("eth0.7"));
	policy = policy_compile(config);
	assert_int_equal(policy_iface_slot(policy, "eth0"), 1);
	assert_int_equal(policy_iface_slot(policy, "eth0.7"), 2);
	assert_int_equal(policy_iface_slot(policy, "eth1"), 0);
	policy_free(policy);
}

static void check_random(uint64_t *r, unsigned n_rules, unsigned n_flows)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct policy *policy;

	config->n_rules = 0; /* the one rule of the fixture has no lists to free */
	random_rules(r, config, n_rules);
	policy = policy_compile(config);
	assert_non_null(policy);
	for (unsigned i = 0; i < n_flows; i++) {
		struct flow_meta meta;
		const struct flow flow = random_flow(r, &meta);
		const unsigned expected = oracle_match(config, &flow, &meta);

		assert_int_equal(policy_match(policy, &flow, &meta), expected);
		assert_null(policy_mismatch(policy, expected, &flow, &meta));
		for (unsigned rule = 0; rule < expected; rule++)
			assert_non_null(policy_mismatch(policy, rule, &flow, &meta));
	}
	policy_free(policy);
}

static void test_random_against_oracle(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 400; round++)
		check_random(&random, fixture_below(&random, round % 20 ? 40 : 700), 300);
}

/* Rules that nearly all flows miss, so that far ones are reached: as many as the
 * bitmaps of a classifier need for a second summary word */
static void test_thousands_of_rules(void **state)
{
	struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 443);
	struct config *config = fixture_balanced(STICKY_NONE);
	uint64_t random = fixture_seed();
	const unsigned n_rules = 10000;
	struct policy *policy;

	(void)state;
	config->n_rules = 0;
	for (unsigned i = 0; i < n_rules; i++) {
		struct rule_config *rule = fixture_rule(config, RULE_BYPASS, 0);
		struct flow_net net = { .family = 4, .bits = 128 };

		net.addr = fixture_addr("10.64.0.0");
		net.addr.b[14] = (uint8_t)(i / 512);
		net.addr.b[15] = (uint8_t)(i / 2);
		fixture_append(rule->sources, rule->n_sources, net);
		fixture_append(rule->dports, rule->n_dports,
			       ((struct port_range){ (uint16_t)(i % 2), (uint16_t)(i % 2) }));
	}
	fixture_rule(config, RULE_BYPASS, 0);
	policy = policy_compile(config);
	assert_non_null(policy);
	for (unsigned i = 0; i < 2000; i++) {
		const unsigned at = fixture_below(&random, n_rules);

		flow.src = config->rules[at].sources[0].addr;
		flow.dport = (uint16_t)(at % 2);
		assert_int_equal(policy_match(policy, &flow, &fixture_waiting), at);
		flow.dport = 2;
		assert_int_equal(policy_match(policy, &flow, &fixture_waiting), n_rules);
	}
	policy_free(policy);
	check_random(&random, n_rules, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_and_ports),    cmocka_unit_test(test_networks),
		cmocka_unit_test(test_what_the_kernel_knows), cmocka_unit_test(test_from_router),
		cmocka_unit_test(test_first_of_several),      cmocka_unit_test(test_candidates),
		cmocka_unit_test(test_iface_slots),	      cmocka_unit_test(test_random_against_oracle),
		cmocka_unit_test(test_thousands_of_rules),
	};

	return cmocka_run_group_tests_name("match", tests, NULL, NULL);
}
