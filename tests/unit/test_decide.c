/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_decide.c - the decision, reason by reason
 *
 * Link ids of the fixture are 1, 5 and 9 at index 0, 1 and 2: marks that mix up
 * the two show.
 */
#include "tests/unit/fixture.h"

#define FOREIGN 0xabcd0042u /* bits outside the mask */
#define NOW 1000000

static const struct flow_meta with_foreign = { .mark = FOREIGN | FIXTURE_WAITING };

static struct flow client(unsigned host, uint16_t sport)
{
	char src[FLOW_ADDR_STRLEN];

	snprintf(src, sizeof(src), "10.1.%u.%u", host / 250, 1 + host % 250);
	return fixture_flow(src, "203.0.113.9", 6, sport, 443);
}

static void expect_link(const struct decision *decision, enum decision_reason reason, int group, int link)
{
	static const uint32_t ids[] = { 0x0100, 0x0500, 0x0900 };

	assert_int_equal(decision->action, DECISION_LINK);
	assert_string_equal(decision_reason_name(decision->reason), decision_reason_name(reason));
	assert_int_equal(decision->group, group);
	assert_int_equal(decision->link, link);
	assert_int_equal(decision->packet_mark, FOREIGN | ids[link]);
	assert_int_equal(decision->ct_mark, FIXTURE_SETTLED | ids[link]);
}

static struct decision ask(struct fixture *fixture, const struct flow *flow, uint64_t now)
{
	return decide(&fixture->decider, flow, &with_foreign, now);
}

static void test_scheduled_by_weight(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_NONE));
	unsigned counts[3] = { 0 };

	(void)state;
	for (uint16_t i = 0; i < 6000; i++) {
		const struct flow flow = client(7, (uint16_t)(1024 + i));
		const struct decision decision = ask(fixture, &flow, NOW);

		expect_link(&decision, REASON_SCHEDULED, 0, decision.link);
		assert_int_equal(decision.rule, 0);
		counts[decision.link]++;
	}
	assert_int_equal(counts[0], 3000);
	assert_int_equal(counts[1], 2000);
	assert_int_equal(counts[2], 1000);
	fixture_free(fixture);
}

static void test_bypass(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct flow flow = client(7, 1024);
	struct fixture *fixture;
	struct decision decision;

	(void)state;
	config->rules[0].action = RULE_BYPASS;
	fixture = fixture_new(config);
	for (unsigned i = 0; i < 2; i++) {
		decision = ask(fixture, &flow, NOW);
		assert_int_equal(decision.action, DECISION_BYPASS);
		assert_int_equal(decision.reason, i ? REASON_REPEAT : REASON_RULE);
		assert_int_equal(decision.group, -1);
		assert_int_equal(decision.link, -1);
		assert_int_equal(decision.packet_mark, FOREIGN | FIXTURE_MAIN);
		assert_int_equal(decision.ct_mark, FIXTURE_MAIN);
	}
	fixture_free(fixture);
}

static struct fixture *pinned(enum if_down if_down)
{
	struct config *config = fixture_balanced(STICKY_NONE);

	config->rules[0].action = RULE_LINK;
	config->rules[0].target = 1;
	config->rules[0].if_down = if_down;
	return fixture_new(config);
}

static void test_pinned_and_other(void **state)
{
	struct fixture *fixture = pinned(IF_DOWN_OTHER);
	unsigned counts[3] = { 0 };
	struct decision decision;
	struct flow flow = client(7, 1);

	(void)state;
	decision = ask(fixture, &flow, NOW);
	expect_link(&decision, REASON_PINNED, -1, 1);
	fixture_usable(fixture, 0x5);
	for (uint16_t i = 0; i < 400; i++) {
		flow = client(7, (uint16_t)(1024 + i));
		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_OTHER, -1, decision.link);
		counts[decision.link]++;
	}
	assert_int_equal(counts[0], 300); /* 3:1, by weight */
	assert_int_equal(counts[2], 100);
	fixture_usable(fixture, 0);
	flow = client(7, 9999);
	assert_int_equal(ask(fixture, &flow, NOW).action, DECISION_NONE);
	fixture_free(fixture);
}

static void test_pinned_and_reject(void **state)
{
	struct fixture *fixture = pinned(IF_DOWN_REJECT);
	const struct flow flow = client(7, 1024);
	struct decision decision;

	(void)state;
	fixture_usable(fixture, 0x5);
	decision = ask(fixture, &flow, NOW);
	assert_int_equal(decision.action, DECISION_REJECT);
	assert_int_equal(decision.reason, REASON_LINK_DOWN);
	assert_int_equal(decision.packet_mark, FOREIGN | FIXTURE_REJECT);
	assert_int_equal(decision.ct_mark, 0);
	fixture_usable(fixture, 0x7); /* and the refusal is not remembered */
	decision = ask(fixture, &flow, NOW);
	expect_link(&decision, REASON_PINNED, -1, 1);
	fixture_free(fixture);
}

/* A pinned link that carries no IPv6 is as good as down for an IPv6 flow */
static void test_pinned_without_family(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	const struct flow flow = fixture_flow("2001:db8:2::7", "2001:db8:ffff::1", 6, 50000, 443);
	struct fixture *fixture;
	struct decision decision;

	(void)state;
	config->rules[0].action = RULE_LINK;
	config->rules[0].target = 2;
	fixture = fixture_new(config);
	decision = ask(fixture, &flow, NOW);
	expect_link(&decision, REASON_OTHER, -1, 1); /* the only one whose prefix it is */
	fixture_free(fixture);
}

static void test_ipv6_stays_on_its_prefix(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_NONE));
	struct decision decision;

	(void)state;
	for (uint16_t i = 0; i < 20; i++) {
		struct flow flow = fixture_flow("2001:db8:1::7", "2001:db8:ffff::1", 6, i, 443);

		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_SCHEDULED, 0, 0);
		flow.src = fixture_addr("2001:db8:2::7");
		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_SCHEDULED, 0, 1);
		flow.src = fixture_addr("2001:db8:3::7");
		decision = ask(fixture, &flow, NOW);
		assert_int_equal(decision.action, DECISION_NONE);
	}
	/* a link may have lost IPv6 alone */
	link_runtime_set_usable(&fixture->runtime, 6, 0x6);
	decision = ask(fixture, &(struct flow){ .family = 6, .src = fixture_addr("2001:db8:1::8") }, NOW);
	assert_int_equal(decision.action, DECISION_NONE);
	fixture_free(fixture);
}

static void test_no_link_leaves_the_mark(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));
	const struct flow flow = client(7, 1024);
	struct decision decision;

	(void)state;
	fixture_usable(fixture, 0);
	decision = ask(fixture, &flow, NOW);
	assert_int_equal(decision.action, DECISION_NONE);
	assert_int_equal(decision.reason, REASON_NO_LINK);
	assert_int_equal(decision.group, 0);
	assert_int_equal(decision.link, -1);
	assert_int_equal(decision.packet_mark, FOREIGN | FIXTURE_WAITING);
	assert_int_equal(decision.ct_mark, 0);
	fixture_usable(fixture, 0x4); /* and nothing was remembered */
	decision = ask(fixture, &flow, NOW);
	expect_link(&decision, REASON_SCHEDULED, 0, 2);
	fixture_free(fixture);
}

static void test_tiers(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct fixture *fixture;
	uint16_t port = 1024;

	(void)state;
	config->groups[0].n_tiers = 3;
	config->groups[0].tier[1] = 2;
	config->groups[0].tier[2] = 3;
	fixture = fixture_new(config);
	for (int best = 0; best < 3; best++) {
		fixture_usable(fixture, 0x7u << best & 0x7);
		for (unsigned i = 0; i < 10; i++) {
			const struct flow flow = client(7, port++);
			const struct decision decision = ask(fixture, &flow, NOW);

			expect_link(&decision, REASON_SCHEDULED, 0, best);
		}
	}
	fixture_free(fixture);
}

/* ---- stickiness ---- */

static void test_sticky_across_protocols(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE_DESTINATION));

	(void)state;
	for (unsigned host = 0; host < 30; host++) {
		struct flow flow = client(host, 50000);
		const struct decision first = ask(fixture, &flow, NOW);
		struct decision next;

		expect_link(&first, REASON_SCHEDULED, 0, first.link);
		flow.protocol = 17;
		flow.sport = 50001;
		next = ask(fixture, &flow, NOW + 599 * 1000);
		expect_link(&next, REASON_STICKY, 0, first.link);
		flow.dst = fixture_addr("203.0.113.10"); /* another server is another story */
		next = ask(fixture, &flow, NOW);
		assert_int_equal(next.reason, REASON_SCHEDULED);
	}
	fixture_free(fixture);
}

static void test_sticky_by_source_expires(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));
	struct flow flow = client(7, 50000);
	const struct decision first = ask(fixture, &flow, NOW);
	struct decision next;

	(void)state;
	flow.dst = fixture_addr("203.0.113.10");
	next = ask(fixture, &flow, NOW + 10000);
	expect_link(&next, REASON_STICKY, 0, first.link);
	flow.sport++;
	next = ask(fixture, &flow, NOW + 10000 + 601 * 1000);
	assert_int_equal(next.reason, REASON_SCHEDULED);
	fixture_free(fixture);
}

static void test_sticky_link_gone(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));
	struct flow flow = client(7, 1024);
	const struct decision first = ask(fixture, &flow, NOW);
	struct decision next, last;

	(void)state;
	fixture_usable(fixture, 0x7 & ~(1u << first.link));
	flow.sport++;
	next = ask(fixture, &flow, NOW);
	assert_int_equal(next.reason, REASON_SCHEDULED);
	assert_int_not_equal(next.link, first.link);
	fixture_usable(fixture, 0x7); /* back again: the client stays where it is now */
	flow.sport++;
	last = ask(fixture, &flow, NOW);
	expect_link(&last, REASON_STICKY, 0, next.link);
	fixture_free(fixture);
}

/* A link of a lower tier holds nobody once a better tier is back */
static void test_sticky_yields_to_tier(void **state)
{
	struct config *config = fixture_balanced(STICKY_SOURCE);
	struct flow flow = client(7, 1024);
	struct fixture *fixture;
	struct decision decision;

	(void)state;
	config->groups[0].n_tiers = 2;
	config->groups[0].tier[0] = 2;
	config->groups[0].tier[1] = 2;
	fixture = fixture_new(config);
	fixture_usable(fixture, 0x3);
	decision = ask(fixture, &flow, NOW);
	assert_in_range(decision.link, 0, 1);
	fixture_usable(fixture, 0x7);
	flow.sport++;
	decision = ask(fixture, &flow, NOW);
	expect_link(&decision, REASON_SCHEDULED, 0, 2);
	fixture_free(fixture);
}

/* Each group remembers for itself */
static void test_sticky_groups_are_apart(void **state)
{
	struct config *config = fixture_balanced(STICKY_SOURCE);
	struct rule_config *rule = &config->rules[0];
	struct flow flow = client(7, 1024);
	struct fixture *fixture;

	(void)state;
	fixture_append(rule->dports, rule->n_dports, ((struct port_range){ 25, 25 }));
	fixture_group(config, STICKY_SOURCE);
	fixture_rule(config, RULE_GROUP, 1);
	fixture = fixture_new(config);
	assert_int_equal(ask(fixture, &flow, NOW).reason, REASON_SCHEDULED);
	flow.dport = 25;
	assert_int_equal(ask(fixture, &flow, NOW).reason, REASON_SCHEDULED);
	flow.sport++;
	assert_int_equal(ask(fixture, &flow, NOW).reason, REASON_STICKY);
	fixture_free(fixture);
}

static void test_learn(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));

	(void)state;
	for (unsigned host = 0; host < 30; host++) {
		const struct flow flow = client(host, 1024);
		struct decision decision;

		decide_learn(&fixture->decider, &flow, &with_foreign, 9, NOW);
		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_STICKY, 0, 2);
	}
	fixture_free(fixture);
}

/* ---- schedulers at runtime ---- */

static void test_runtime_scheduler_and_weights(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_NONE));
	struct decision decision;
	struct flow flow;
	int16_t link;

	(void)state;
	atomic_store(&fixture->runtime.scheduler[0], SCHED_HASH);
	flow = client(7, 1);
	link = ask(fixture, &flow, NOW).link;
	for (uint16_t port = 2; port < 50; port++) {
		flow = client(7, port);
		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_SCHEDULED, 0, link);
	}
	fixture->decider.key[0]++; /* as after a restart */
	flow = client(7, 50);
	assert_int_equal(ask(fixture, &flow, NOW).link, link);
	atomic_store(&fixture->runtime.scheduler[0], SCHED_WRR);
	link_runtime_set_weight(&fixture->runtime, 0, 0);
	link_runtime_set_weight(&fixture->runtime, 1, 0);
	for (uint16_t port = 60; port < 70; port++) {
		flow = client(7, port);
		decision = ask(fixture, &flow, NOW);
		expect_link(&decision, REASON_SCHEDULED, 0, 2);
	}
	fixture_free(fixture);
}

/* Link id that the hash scheduler gives this client and server */
static unsigned hashed(struct fixture *fixture, unsigned host, const char *server)
{
	const struct config *config = policy_config(fixture->decider.policy);
	struct flow flow = client(host, 1024);

	flow.dst = fixture_addr(server);
	return config->links[ask(fixture, &flow, NOW).link].id;
}

static struct config *hashing(enum sticky_kind sticky, bool fourth)
{
	struct config *config = fixture_balanced(sticky);

	config->groups[0].scheduler = SCHED_HASH;
	if (fourth) { /* before two others: their index changes, their id does not */
		fixture_link(config, 9, 1);
		config->links[2] = config->links[1];
		config->links[1] = (struct link_config){ .id = 3, .weight = 4, .gateway = { .kind = GATEWAY_AUTO } };
		config->groups[0].links = 0xf;
		config->groups[0].tier[3] = 1;
	}
	return config;
}

static void test_hash_survives_a_new_link(void **state)
{
	struct fixture *before = fixture_new(hashing(STICKY_NONE, false));
	struct fixture *after = fixture_new(hashing(STICKY_NONE, true));
	unsigned moved = 0;

	(void)state;
	for (unsigned host = 0; host < 1000; host++) {
		const unsigned now_at = hashed(after, host, "203.0.113.9");

		moved += now_at == 3;
		if (now_at != 3)
			assert_int_equal(now_at, hashed(before, host, "203.0.113.9"));
	}
	assert_in_range(moved, 300, 500); /* 4 of 10 */
	fixture_free(before);
	fixture_free(after);
}

/* The hash scheduler sees what the group sticks to */
static void test_hash_of_source_or_both(void **state)
{
	struct fixture *source = fixture_new(hashing(STICKY_SOURCE, false));
	struct fixture *other_source = fixture_new(hashing(STICKY_SOURCE, false)); /* with a memory of its own */
	struct fixture *both = fixture_new(hashing(STICKY_SOURCE_DESTINATION, false));
	struct fixture *none = fixture_new(hashing(STICKY_NONE, false));
	unsigned differ = 0;

	(void)state;
	for (unsigned host = 0; host < 100; host++) {
		const unsigned a = hashed(both, host, "203.0.113.9");
		const unsigned b = hashed(both, host, "203.0.113.10");

		differ += a != b;
		assert_int_equal(hashed(none, host, "203.0.113.9"), a);
		assert_int_equal(hashed(none, host, "203.0.113.10"), b);
		assert_int_equal(hashed(source, host, "203.0.113.9"), hashed(other_source, host, "203.0.113.10"));
	}
	assert_in_range(differ, 30, 90);
	fixture_free(source);
	fixture_free(other_source);
	fixture_free(both);
	fixture_free(none);
}

static void test_peek_leaves_no_trace(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));
	int64_t scores[CONFIG_MAX_LINKS];
	uint64_t age;

	(void)state;
	for (unsigned host = 0; host < 60; host++) {
		struct flow flow = client(host, 1024);
		struct decision peeked, again, decided;

		peeked = decide_peek(&fixture->decider, &flow, &with_foreign, NOW, scores, &age);
		again = decide_peek(&fixture->decider, &flow, &with_foreign, NOW, scores, &age);
		decided = ask(fixture, &flow, NOW);
		expect_link(&peeked, REASON_SCHEDULED, 0, decided.link);
		expect_link(&again, REASON_SCHEDULED, 0, decided.link);
		for (int i = 0; i < 3; i++)
			assert_true(scores[i] <= scores[decided.link]);
		assert_int_equal(scores[3], 0);
		flow.sport++;
		peeked = decide_peek(&fixture->decider, &flow, &with_foreign, NOW + 8000, scores, &age);
		expect_link(&peeked, REASON_STICKY, 0, decided.link);
		assert_in_range(age, 7984, 8016);
	}
	fixture_free(fixture);
}

/* ---- repeats ---- */

static void test_repeat(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_NONE));

	(void)state;
	for (uint16_t i = 0; i < 12; i++) {
		const struct flow flow = client(7, (uint16_t)(1024 + i));
		const struct decision first = ask(fixture, &flow, NOW);
		struct decision next = ask(fixture, &flow, NOW + RECENT_LIFETIME_MS);

		assert_int_equal(first.reason, REASON_SCHEDULED);
		expect_link(&next, REASON_REPEAT, 0, first.link);
		fixture_usable(fixture, 0x7 & ~(1u << first.link)); /* its link went down: decided again */
		next = ask(fixture, &flow, NOW + 1);
		expect_link(&next, REASON_SCHEDULED, 0, next.link);
		assert_int_not_equal(next.link, first.link);
		fixture_usable(fixture, 0x7);
		assert_int_equal(ask(fixture, &flow, NOW + 1).link, next.link);
		next = ask(fixture, &flow, NOW + 2 + RECENT_LIFETIME_MS);
		assert_int_equal(next.reason, REASON_SCHEDULED);
	}
	fixture_free(fixture);
}

/* The same tuple keeps its answer when the policy is another one a moment later, even
 * one whose group has no place for that link */
static void test_repeat_over_reload(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_NONE));
	const struct flow flow = client(7, 1024);
	const struct decision first = ask(fixture, &flow, NOW);
	struct config *config = fixture_balanced(STICKY_NONE);
	struct rule_config *rule = &config->rules[0];
	struct decision next;

	(void)state;
	fixture_append(rule->dports, rule->n_dports, ((struct port_range){ 25, 25 }));
	fixture_rule(config, RULE_GROUP, 0);
	config->groups[0].links = 0x7 & ~(1u << first.link);
	config->checksum = 2;
	fixture_replace_policy(fixture, config);
	next = ask(fixture, &flow, NOW + 1);
	expect_link(&next, REASON_REPEAT, -1, first.link);
	assert_int_equal(next.rule, 1); /* the rule that the new policy has for it */
	next = ask(fixture, &flow, NOW + RECENT_LIFETIME_MS + 1);
	expect_link(&next, REASON_SCHEDULED, 0, next.link);
	assert_int_not_equal(next.link, first.link);
	fixture_free(fixture);
}

static void test_sticky_over_reload(void **state)
{
	struct fixture *fixture = fixture_new(fixture_balanced(STICKY_SOURCE));
	struct flow flow = client(7, 1024);
	const struct decision first = ask(fixture, &flow, NOW);
	struct config *config = fixture_balanced(STICKY_SOURCE);
	struct decision next;

	(void)state;
	config->checksum = 2;
	fixture_replace_policy(fixture, config);
	flow.sport++;
	next = ask(fixture, &flow, NOW + 1);
	expect_link(&next, REASON_STICKY, 0, first.link);
	fixture_free(fixture);
}

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < DECISION_ACTIONS; i++)
		assert_non_null(decision_action_name((enum decision_action)i));
	for (int i = 0; i < DECISION_REASONS; i++)
		assert_non_null(decision_reason_name((enum decision_reason)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scheduled_by_weight),
		cmocka_unit_test(test_bypass),
		cmocka_unit_test(test_pinned_and_other),
		cmocka_unit_test(test_pinned_and_reject),
		cmocka_unit_test(test_pinned_without_family),
		cmocka_unit_test(test_ipv6_stays_on_its_prefix),
		cmocka_unit_test(test_no_link_leaves_the_mark),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_sticky_across_protocols),
		cmocka_unit_test(test_sticky_by_source_expires),
		cmocka_unit_test(test_sticky_link_gone),
		cmocka_unit_test(test_sticky_yields_to_tier),
		cmocka_unit_test(test_sticky_groups_are_apart),
		cmocka_unit_test(test_learn),
		cmocka_unit_test(test_runtime_scheduler_and_weights),
		cmocka_unit_test(test_hash_survives_a_new_link),
		cmocka_unit_test(test_hash_of_source_or_both),
		cmocka_unit_test(test_peek_leaves_no_trace),
		cmocka_unit_test(test_repeat),
		cmocka_unit_test(test_repeat_over_reload),
		cmocka_unit_test(test_sticky_over_reload),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
