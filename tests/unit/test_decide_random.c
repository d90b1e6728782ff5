/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_decide_random.c - the decision against a slow model
 *
 * The model keeps plain lists of what was answered and of which client used which
 * link, and says which answers are right. Where several links are (a scheduler's
 * free choice) it takes over the one chosen; test_sched.c judges the schedulers.
 */
#include "tests/unit/random_config.h"

#define LINKS 6
#define MEMORY 20000
#define SLACK 1000 /* an entry is refreshed at most once a second */

struct answered {
	struct flow flow;
	uint64_t time;
	struct decision decision;
};

struct client {
	unsigned slot;
	bool with_dst;
	struct flow_addr src, dst;
	unsigned link;
	uint64_t time;
};

struct model {
	const struct config *config;
	uint64_t usable[2];
	struct answered answered[MEMORY];
	size_t n_answered;
	struct client clients[MEMORY];
	size_t n_clients;
};

static bool same_addr(const struct flow_addr *a, const struct flow_addr *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static struct answered *find_answered(struct model *model, const struct flow *flow)
{
	for (size_t i = 0; i < model->n_answered; i++) {
		const struct flow *old = &model->answered[i].flow;

		if (same_addr(&old->src, &flow->src) && same_addr(&old->dst, &flow->dst) &&
		    old->protocol == flow->protocol && old->sport == flow->sport && old->dport == flow->dport)
			return &model->answered[i];
	}
	return NULL;
}

static struct client *find_client(struct model *model, const struct group_config *group, const struct flow *flow)
{
	const bool with_dst = group->sticky == STICKY_SOURCE_DESTINATION;

	for (size_t i = 0; i < model->n_clients; i++) {
		struct client *client = &model->clients[i];

		if (client->slot == group->slot && client->with_dst == with_dst &&
		    same_addr(&client->src, &flow->src) && (!with_dst || same_addr(&client->dst, &flow->dst)))
			return client;
	}
	return NULL;
}

static bool may_carry(const struct link_config *link, const struct flow *flow)
{
	if (flow->family == 4)
		return link->gateway.kind != GATEWAY_OFF;
	if (link->gateway6.kind == GATEWAY_OFF)
		return false;
	for (size_t i = 0; i < link->n_prefixes6; i++) {
		if (oracle_in_net(&link->prefixes6[i], flow, &flow->src))
			return true;
	}
	return link->nat6.kind != NAT_NONE;
}

static bool is_usable(const struct model *model, const struct flow *flow, unsigned link)
{
	return may_carry(&model->config->links[link], flow) && (model->usable[flow->family == 6] >> link & 1);
}

/* Links of the group that a flow may take: the usable ones of the lowest tier number */
static uint64_t group_links(const struct model *model, const struct group_config *group, const struct flow *flow)
{
	uint64_t links = 0;
	unsigned best = group->n_tiers;

	for (unsigned i = 0; i < LINKS; i++) {
		if (!(group->links >> i & 1) || !is_usable(model, flow, i) || group->tier[i] > best)
			continue;
		if (group->tier[i] < best)
			links = 0;
		best = group->tier[i];
		links |= UINT64_C(1) << i;
	}
	return links;
}

static void check_marks(const struct model *model, const struct decision *decision, const struct flow_meta *meta)
{
	uint32_t bits = 0, settled = 0;

	if (decision->action == DECISION_LINK) {
		bits = model->config->links[decision->link].id << 8;
		settled = FIXTURE_SETTLED | bits;
	} else if (decision->action == DECISION_BYPASS) {
		bits = settled = FIXTURE_MAIN;
	} else if (decision->action == DECISION_REJECT) {
		bits = FIXTURE_REJECT;
	} else {
		bits = FIXTURE_WAITING;
	}
	assert_int_equal(decision->packet_mark, (meta->mark & ~FIXTURE_MASK) | bits);
	assert_int_equal(decision->ct_mark, settled);
}

static void check_pinned(struct model *model, const struct rule_config *rule, const struct flow *flow,
			 const struct decision *decision)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < LINKS; i++)
		any |= (uint64_t)is_usable(model, flow, i) << i;
	assert_int_equal(decision->group, -1);
	if (any >> rule->target & 1) {
		assert_int_equal(decision->reason, REASON_PINNED);
		assert_int_equal(decision->link, rule->target);
	} else if (rule->if_down == IF_DOWN_REJECT) {
		assert_int_equal(decision->action, DECISION_REJECT);
		assert_int_equal(decision->reason, REASON_LINK_DOWN);
	} else if (any) {
		assert_int_equal(decision->reason, REASON_OTHER);
		assert_true(any >> decision->link & 1);
	} else {
		assert_int_equal(decision->action, DECISION_NONE);
	}
}

static void remember_client(struct model *model, const struct group_config *group, const struct flow *flow,
			    unsigned link, uint64_t now)
{
	struct client *client = find_client(model, group, flow);

	if (group->sticky == STICKY_NONE)
		return;
	if (!client) {
		assert_true(model->n_clients < MEMORY);
		client = &model->clients[model->n_clients++];
	}
	*client = (struct client){
		.slot = group->slot,
		.with_dst = group->sticky == STICKY_SOURCE_DESTINATION,
		.src = flow->src,
		.dst = flow->dst,
		.link = link,
		.time = now,
	};
}

static void check_group(struct model *model, const struct rule_config *rule, const struct flow *flow,
			const struct decision *decision, uint64_t now)
{
	const struct group_config *group = &model->config->groups[rule->target];
	const uint64_t links = group_links(model, group, flow);
	const struct client *client = group->sticky == STICKY_NONE ? NULL : find_client(model, group, flow);
	const uint64_t timeout = group->sticky_timeout * UINT64_C(1000);

	assert_int_equal(decision->group, rule->target);
	if (!links) {
		assert_int_equal(decision->action, DECISION_NONE);
		assert_int_equal(decision->reason, REASON_NO_LINK);
		return;
	}
	assert_int_equal(decision->action, DECISION_LINK);
	assert_true(links >> decision->link & 1);
	if (client && (links >> client->link & 1) && now - client->time + SLACK < timeout)
		assert_int_equal(decision->reason, REASON_STICKY);
	if (decision->reason == REASON_STICKY) {
		assert_non_null(client);
		assert_int_equal(decision->link, client->link);
		assert_true(now - client->time < timeout + 16); /* the table counts in 16 ms */
	} else {
		assert_int_equal(decision->reason, REASON_SCHEDULED);
	}
	remember_client(model, group, flow, (unsigned)decision->link, now);
}

/* The answer to a tuple seen a moment ago. False: it has to be decided. */
static bool check_repeat(const struct model *model, const struct answered *old, const struct flow *flow,
			 const struct decision *decision, uint64_t now)
{
	if (!old || now - old->time > RECENT_LIFETIME_MS)
		return false;
	if (old->decision.action == DECISION_LINK && !is_usable(model, flow, (unsigned)old->decision.link))
		return false;
	assert_int_equal(decision->reason, REASON_REPEAT);
	assert_int_equal(decision->action, old->decision.action);
	assert_int_equal(decision->link, old->decision.link);
	assert_in_range(decision->rule, 0, model->config->n_rules - 1);
	return true;
}

static void check(struct model *model, const struct flow *flow, const struct flow_meta *meta,
		  const struct decision *decision, uint64_t now)
{
	struct answered *old = find_answered(model, flow);
	const struct rule_config *rule;

	check_marks(model, decision, meta);
	if (check_repeat(model, old, flow, decision, now))
		return;
	assert_int_equal(decision->rule, oracle_match(model->config, flow, meta));
	rule = &model->config->rules[decision->rule];
	if (rule->action == RULE_LINK)
		check_pinned(model, rule, flow, decision);
	else if (rule->action == RULE_GROUP)
		check_group(model, rule, flow, decision, now);
	else
		assert_int_equal(decision->action, DECISION_BYPASS);
	if (decision->action != DECISION_LINK && decision->action != DECISION_BYPASS)
		return;
	if (!old) {
		assert_true(model->n_answered < MEMORY);
		old = &model->answered[model->n_answered++];
	}
	*old = (struct answered){ .flow = *flow, .time = now, .decision = *decision };
}

/* ---- random worlds ---- */

/* The same links whatever `r`: a reload does not change them */
static void random_links(struct config *config)
{
	static const char *const prefixes[] = { "2001:db8:1::/48", "2001:db8:1:1::/64", "2001:db8:2::/48" };

	for (unsigned i = 0; i < LINKS; i++) {
		struct link_config *link = fixture_link(config, 3 + 7 * i, 1 + i);

		if (i < 3)
			fixture_prefix6(link, prefixes[i]);
	}
	config->links[3].gateway6.kind = GATEWAY_NONE; /* no prefix: carries nobody */
	config->links[4].gateway6.kind = GATEWAY_AUTO;
	config->links[4].nat6.kind = NAT_MASQUERADE;
	config->links[4].gateway.kind = GATEWAY_OFF;
}

static struct config *random_config(uint64_t *r)
{
	struct config *config = fixture_empty();
	const unsigned n_groups = 1 + fixture_below(r, 3);

	random_links(config);
	for (unsigned g = 0; g < n_groups; g++) {
		struct group_config *group = fixture_group(config, (enum sticky_kind)fixture_below(r, 3));

		group->scheduler = (enum scheduler)fixture_below(r, SCHEDULERS);
		group->sticky_timeout = 2 + 2 * fixture_below(r, 4);
		group->links &= fixture_random(r) | 1;
		group->n_tiers = 1 + fixture_below(r, 3);
		for (unsigned i = 0; i < LINKS; i++)
			group->tier[i] = (uint8_t)(1 + fixture_below(r, group->n_tiers));
	}
	config->checksum = fixture_random(r);
	random_rules(r, config, fixture_below(r, 8));
	return config;
}

static void random_usable(uint64_t *r, struct model *model, struct fixture *fixture)
{
	model->usable[0] = fixture_random(r) & ((1 << LINKS) - 1);
	model->usable[1] = fixture_random(r) & ((1 << LINKS) - 1);
	link_runtime_set_usable(&fixture->runtime, 4, model->usable[0]);
	link_runtime_set_usable(&fixture->runtime, 6, model->usable[1]);
}

/* Tables so large that nothing falls out, which the model does not know */
static void grow_tables(struct decider *decider)
{
	sticky_free(decider->sticky);
	recent_free(decider->recent);
	decider->sticky = sticky_new(1 << 20);
	decider->recent = recent_new(18);
	assert_non_null(decider->sticky);
	assert_non_null(decider->recent);
}

static void run_world(uint64_t *r, struct model *model)
{
	struct config *config = random_config(r);
	struct fixture *fixture = fixture_new(config);
	uint64_t now = 100000;

	*model = (struct model){ .config = config, .usable = { 0x3f, 0x3f } };
	grow_tables(&fixture->decider);
	for (unsigned turn = 0; turn < 1500; turn++) {
		struct flow_meta meta;
		const struct flow flow = random_flow(r, &meta);
		struct decision decision;

		now += fixture_below(r, turn % 16 ? 50 : 3000);
		if (ONE_IN(30))
			random_usable(r, model, fixture);
		if (ONE_IN(300)) {
			config = random_config(r);
			fixture_replace_policy(fixture, config);
			model->config = config;
		}
		decision = decide(&fixture->decider, &flow, &meta, now);
		check(model, &flow, &meta, &decision, now);
		decision = decide(&fixture->decider, &flow, &meta, now);
		check(model, &flow, &meta, &decision, now);
	}
	fixture_free(fixture);
}

static void test_against_model(void **state)
{
	uint64_t random = fixture_seed();
	struct model *model = fixture_zeroed(1, sizeof(*model));

	(void)state;
	for (unsigned world = 0; world < 40; world++)
		run_world(&random, model);
	free(model);
}

#define BATCH 48

/* A batch that is prepared as a whole is decided as one flow after the other */
static void check_batch(uint64_t *r, struct fixture *fixture, struct fixture *prepared, uint64_t now)
{
	struct flow_meta metas[BATCH];
	struct flow flows[BATCH];
	struct decide_prepared hints[BATCH];

	for (unsigned i = 0; i < BATCH; i++) {
		flows[i] = random_flow(r, &metas[i]);
		decide_prepare(&prepared->decider, &flows[i], &metas[i], &hints[i]);
	}
	for (unsigned i = 0; i < BATCH; i++) {
		const struct decision one = decide(&fixture->decider, &flows[i], &metas[i], now);
		struct decision two;

		decide_prepared(&prepared->decider, &flows[i], &metas[i], now, &hints[i], &two);
		assert_int_equal(one.action, two.action);
		assert_int_equal(one.reason, two.reason);
		assert_int_equal(one.rule, two.rule);
		assert_int_equal(one.group, two.group);
		assert_int_equal(one.link, two.link);
		assert_int_equal(one.tuple, two.tuple);
		assert_int_equal(one.packet_mark, two.packet_mark);
		assert_int_equal(one.ct_mark, two.ct_mark);
	}
}

static void test_prepared_batches(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned world = 0; world < 40; world++) {
		uint64_t again = random;
		struct fixture *fixture = fixture_new(random_config(&again));
		struct fixture *prepared = fixture_new(random_config(&random));

		for (uint64_t now = 100000; now < 120000; now += 1000)
			check_batch(&random, fixture, prepared, now);
		fixture_free(fixture);
		fixture_free(prepared);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_against_model),
		cmocka_unit_test(test_prepared_batches),
	};

	return cmocka_run_group_tests_name("decide-random", tests, NULL, NULL);
}
