/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/fuzz_decide.c - packets through decoder and decision
 *
 * The input is a row of records: four bytes (flags, time, mark, length) and as many
 * bytes of a packet. What holds of every decision is checked.
 */
#include <string.h>

#include "policy/decide.h"
#include "policy/decode.h"
#include "tests/fuzz/fuzz.h"

#define MASK 0xff00u
#define LINKS 4

static void *zeroed(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	expect(memory);
	return memory;
}

/* ---- a configuration with every kind of rule ---- */

static void make_links(struct config *config)
{
	config->links = zeroed(LINKS, sizeof(*config->links));
	config->n_links = LINKS;
	for (unsigned i = 0; i < LINKS; i++) {
		struct link_config *link = &config->links[i];

		link->id = 2 * i + 1;
		link->weight = i + 1;
		link->gateway.kind = i < 3 ? GATEWAY_AUTO : GATEWAY_OFF;
		link->gateway6.kind = i > 0 ? GATEWAY_AUTO : GATEWAY_OFF;
		link->nat6.kind = i == 3 ? NAT_MASQUERADE : NAT_NONE;
	}
	config->links[1].prefixes6 = zeroed(1, sizeof(struct flow_net));
	config->links[1].n_prefixes6 = 1;
	expect(flow_net_parse("2001:db8:1::/48", &config->links[1].prefixes6[0]));
}

static void make_groups(struct config *config)
{
	config->groups = zeroed(2, sizeof(*config->groups));
	config->n_groups = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct group_config *group = &config->groups[i];

		group->scheduler = i ? SCHED_HASH : SCHED_WRR;
		group->sticky = i ? STICKY_SOURCE : STICKY_SOURCE_DESTINATION;
		group->sticky_timeout = 10;
		group->links = i ? 0xe : 0xf;
		group->n_tiers = 2;
		group->slot = i;
		for (unsigned link = 0; link < LINKS; link++)
			group->tier[link] = (uint8_t)(1 + (link > 1));
	}
}

static void make_rules(struct config *config)
{
	struct rule_config *rules = zeroed(6, sizeof(*rules));

	config->rules = rules;
	config->n_rules = 6;
	rules[0].action = RULE_LINK; /* pinned, refuses */
	rules[0].if_down = IF_DOWN_REJECT;
	rules[0].n_dports = 1;
	rules[0].dports = zeroed(1, sizeof(struct port_range));
	rules[0].dports[0] = (struct port_range){ 25, 25 };
	rules[1].action = RULE_LINK; /* pinned, yields */
	rules[1].target = 2;
	rules[1].n_dscps = 1;
	rules[1].dscps = zeroed(1, 1);
	rules[1].dscps[0] = 8;
	rules[2].action = RULE_BYPASS;
	rules[2].n_destinations = 1;
	rules[2].destinations = zeroed(1, sizeof(struct flow_net));
	expect(flow_net_parse("10.0.0.0/8", &rules[2].destinations[0]));
	rules[3].action = RULE_GROUP;
	rules[3].target = 1;
	rules[3].n_marks = 1;
	rules[3].marks = zeroed(1, sizeof(struct mark_match));
	rules[3].marks[0] = (struct mark_match){ .value = 0x10000, .mask = 0xff0000 };
	rules[4].action = RULE_GROUP;
	rules[4].target = 1;
	rules[4].n_protocols = 1;
	rules[4].protocols = zeroed(1, 1);
	rules[4].protocols[0] = 17;
	rules[4].from_router = true;
	rules[5].action = RULE_GROUP;
}

static struct policy *make_policy(void)
{
	struct config *config = zeroed(1, sizeof(*config));
	struct policy *policy;

	config->mask = MASK;
	make_links(config);
	make_groups(config);
	make_rules(config);
	policy = policy_compile(config);
	expect(policy);
	return policy;
}

/* ---- what holds of every decision ---- */

static void check(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
		  const struct decision *decision)
{
	const struct config *config = policy_config(decider->policy);
	const uint64_t usable =
		policy_candidates(decider->policy, flow) & link_runtime_usable(decider->runtime, flow->family);

	expect(decision->rule < config->n_rules);
	expect((decision->packet_mark & ~MASK) == (meta->mark & ~MASK));
	expect(!(decision->ct_mark & ~MASK));
	expect((decision->action == DECISION_LINK) == (decision->link >= 0));
	if (decision->action == DECISION_LINK) {
		expect(usable >> decision->link & 1);
		expect(config_mark_id(MASK, decision->packet_mark) == config->links[decision->link].id);
		expect(config_mark_id(MASK, decision->ct_mark) == config->links[decision->link].id);
	}
	if (decision->action == DECISION_NONE)
		expect(decision->packet_mark == meta->mark && !decision->ct_mark);
}

struct record {
	uint8_t flags, time, mark, len;
};

static void decide_record(struct decider *decider, struct link_runtime *runtime, const struct record *record,
			  const uint8_t *packet, uint64_t now)
{
	const struct flow_meta meta = {
		.mark = (uint32_t)record->mark << 16 | 0x8000 | record->mark,
		.iface = record->flags & 3,
		.from_router = record->flags & 4,
	};
	struct flow flow;
	struct decision first, again;

	link_runtime_set_usable(runtime, 4, record->flags >> 4);
	link_runtime_set_usable(runtime, 6, ~record->flags >> 4 & 0xf);
	if (decode_packet(packet, record->len, &flow) != DECODE_OK)
		return;
	first = decide(decider, &flow, &meta, now);
	check(decider, &flow, &meta, &first);
	again = decide(decider, &flow, &meta, now);
	check(decider, &flow, &meta, &again);
	expect(again.action == first.action);
	expect(again.action != DECISION_LINK || (again.reason == REASON_REPEAT && again.link == first.link));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct policy *policy; /* made once: compiling takes longer than deciding */
	static struct link_runtime runtime;
	static struct sched_state sched;
	static struct load load;
	struct decider decider = {
		.runtime = &runtime,
		.sticky = sticky_new(64),
		.sched = &sched,
		.recent = recent_new(6),
		.load = &load,
	};
	uint64_t now = 1000;

	expect(decider.sticky && decider.recent);
	if (!policy)
		policy = make_policy();
	decider.policy = policy;
	memset(&sched, 0, sizeof(sched));
	memset(&load, 0, sizeof(load));
	load.workers = 1;
	link_runtime_init(&runtime, policy_config(policy));
	while (len >= sizeof(struct record)) {
		struct record record;

		memcpy(&record, bytes, sizeof(record));
		bytes += sizeof(record);
		len -= sizeof(record);
		if (record.len > len)
			record.len = (uint8_t)len;
		now += (uint64_t)record.time * 32;
		decide_record(&decider, &runtime, &record, bytes, now);
		bytes += record.len;
		len -= record.len;
	}
	sticky_free(decider.sticky);
	recent_free(decider.recent);
	return 0;
}
