/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/decide.c - the decision: flow -> rule -> group -> link
 *
 * decide() at the end reads as the sentence; each step above it is one function.
 * decide_peek() takes the same steps and leaves no trace.
 */
#include "policy/decide.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "policy/policy_private.h"

/* The hash scheduler must say the same after a restart, so its key is fixed. Who aims
 * at a value only chooses a link for himself; tables use the random key. */
static const uint64_t scheduler_key[2] = { 0x6e66712d62616c61, 0x6e6365722e686173 };

/* One decision in the making */
struct question {
	const struct decider *decider;
	const struct policy *policy;
	const struct config *config;
	const struct flow *flow;
	const struct flow_meta *meta;
	const struct policy_classes *classes;
	uint64_t now;
	int64_t *scores; /* NULL: decide and account; else only look, and fill these */
	uint64_t *sticky_age; /* with scores */
};

/* ---- answers ---- */

static uint32_t with_bits(const struct question *q, uint32_t bits)
{
	return (q->meta->mark & ~q->config->mask) | bits;
}

static void answer_link(const struct question *q, struct decision *out, unsigned rule, int group, unsigned link,
			enum decision_reason reason)
{
	const uint32_t bits = q->policy->link_mark[link];

	out->action = DECISION_LINK;
	out->reason = reason;
	out->rule = (uint16_t)rule;
	out->group = (int16_t)group;
	out->link = (int16_t)link;
	out->packet_mark = with_bits(q, bits);
	out->ct_mark = q->policy->settled | bits;
}

static void answer_bypass(const struct question *q, struct decision *out, unsigned rule, enum decision_reason reason)
{
	const uint32_t bits = config_mark_main(q->config->mask);

	out->action = DECISION_BYPASS;
	out->reason = reason;
	out->rule = (uint16_t)rule;
	out->group = -1;
	out->link = -1;
	out->packet_mark = with_bits(q, bits);
	out->ct_mark = bits;
}

/* The packet alone is refused: the next one of this flow may find the link up again */
static void answer_reject(const struct question *q, struct decision *out, unsigned rule)
{
	out->action = DECISION_REJECT;
	out->reason = REASON_LINK_DOWN;
	out->rule = (uint16_t)rule;
	out->group = -1;
	out->link = -1;
	out->packet_mark = with_bits(q, config_mark_reject(q->config->mask));
	out->ct_mark = 0;
}

/* The mark stays as it came (waiting), so that the kernel's fallback takes the packet */
static void answer_none(const struct question *q, struct decision *out, unsigned rule, int group)
{
	out->action = DECISION_NONE;
	out->reason = REASON_NO_LINK;
	out->rule = (uint16_t)rule;
	out->group = (int16_t)group;
	out->link = -1;
	out->packet_mark = q->meta->mark;
	out->ct_mark = 0;
}

/* ---- steps ---- */

/* Links that can carry this flow and take new flows now */
static uint64_t usable_links(const struct question *q)
{
	const uint64_t candidates = q->flow->family == 4 ? q->policy->carries4 : policy_candidates(q->policy, q->flow);

	return candidates & link_runtime_usable(q->decider->runtime, q->flow->family);
}

static unsigned schedule(const struct question *q, enum scheduler scheduler, const struct sched_input *input)
{
	if (q->scores)
		return sched_peek(scheduler, q->decider->sched, input, q->scores);
	return sched_pick(scheduler, q->decider->sched, input);
}

static void decide_pinned(const struct question *q, struct decision *out, unsigned rule)
{
	const struct verdict *verdict = &q->policy->verdicts[rule];
	const struct sched_input others = {
		.slot = SCHED_SLOT_ANY,
		.candidates = usable_links(q),
		.runtime = q->decider->runtime,
		.load = q->decider->load,
	};

	if (others.candidates & UINT64_C(1) << verdict->target)
		answer_link(q, out, rule, -1, verdict->target, REASON_PINNED);
	else if (verdict->if_down == IF_DOWN_REJECT)
		answer_reject(q, out, rule);
	else if (!others.candidates)
		answer_none(q, out, rule, -1);
	else
		answer_link(q, out, rule, -1, schedule(q, SCHED_WRR, &others), REASON_OTHER);
}

static uint64_t sticky_key(const struct decider *decider, const struct group_config *group, const struct flow *flow)
{
	return flow_hash_hosts(flow, group->sticky == STICKY_SOURCE_DESTINATION, group->slot, decider->key);
}

/* The link with this id among `links`, or -1 */
static int link_among(const struct config *config, uint64_t links, unsigned id)
{
	for (; links; links &= links - 1) {
		const int i = __builtin_ctzll(links);

		if (config->links[i].id == id)
			return i;
	}
	return -1;
}

/* Where this client went last, if that is still among `links`; else -1 */
static int sticky_link(const struct question *q, const struct group_config *group, uint64_t key, uint64_t links)
{
	const uint64_t timeout = (uint64_t)group->sticky_timeout * 1000;
	unsigned id;

	if (q->scores)
		id = sticky_peek(q->decider->sticky, key, q->now, timeout, q->sticky_age);
	else
		id = sticky_get(q->decider->sticky, key, q->now, timeout);
	return id ? link_among(q->config, links, id) : -1;
}

static unsigned schedule_group(const struct question *q, const struct group_config *group, uint64_t links)
{
	const enum scheduler scheduler = link_runtime_scheduler(q->decider->runtime, group->slot);
	struct sched_input input = {
		.slot = group->slot,
		.candidates = links,
		.runtime = q->decider->runtime,
		.load = q->decider->load,
		.group = group,
	};

	/* without the slot: the same client takes the same link in every group that has it */
	if (scheduler == SCHED_HASH)
		input.hash = flow_hash_hosts(q->flow, group->sticky != STICKY_SOURCE, 0, scheduler_key);
	return schedule(q, scheduler, &input);
}

static void decide_group(const struct question *q, struct decision *out, unsigned rule)
{
	const unsigned index = q->policy->verdicts[rule].target;
	const struct group_config *group = &q->config->groups[index];
	const uint64_t links = tiers_best(&q->policy->tiers[index], usable_links(q));
	uint64_t key = 0;
	unsigned link;

	if (!links) {
		answer_none(q, out, rule, (int)index);
		return;
	}
	if (group->sticky != STICKY_NONE) {
		int last;

		key = sticky_key(q->decider, group, q->flow);
		last = sticky_link(q, group, key, links);
		if (last >= 0) {
			answer_link(q, out, rule, (int)index, (unsigned)last, REASON_STICKY);
			return;
		}
	}
	link = schedule_group(q, group, links);
	if (group->sticky != STICKY_NONE && !q->scores)
		sticky_put(q->decider->sticky, key, q->config->links[link].id, q->now);
	answer_link(q, out, rule, (int)index, link, REASON_SCHEDULED);
}

static void decide_by_rule(const struct question *q, struct decision *out)
{
	const unsigned rule = policy_match_classes(q->policy, q->classes, q->meta);

	switch ((enum rule_action)q->policy->verdicts[rule].action) {
	case RULE_BYPASS:
		answer_bypass(q, out, rule, REASON_RULE);
		break;
	case RULE_LINK:
		decide_pinned(q, out, rule);
		break;
	case RULE_GROUP:
		decide_group(q, out, rule);
		break;
	}
}

/* ---- repeats ----
 * An answer in 32 bits, so that it can wait in the table of recent answers:
 *   31 always set   30 bypass   24..29 link   16..23 policy   0..15 rule
 * A link is its index: the set of links does not change by reload. Rules do, so eight
 * bits of the policy's checksum tell whether the rule still means what it meant. */

#define MEMO_VALID (UINT32_C(1) << 31)
#define MEMO_BYPASS (UINT32_C(1) << 30)
#define MEMO_LINK_SHIFT 24
#define MEMO_LINK_MASK 0x3f
#define MEMO_POLICY_SHIFT 16

static_assert(CONFIG_MAX_LINKS <= MEMO_LINK_MASK + 1, "a link index fits its bits");

static uint8_t memo_policy(const struct config *config)
{
	return (uint8_t)config->checksum;
}

/* 0: nothing that has to be repeated */
static uint32_t memo_make(const struct config *config, const struct decision *decision)
{
	const uint32_t common = MEMO_VALID | (uint32_t)memo_policy(config) << MEMO_POLICY_SHIFT | decision->rule;

	if (decision->action == DECISION_LINK)
		return common | (uint32_t)decision->link << MEMO_LINK_SHIFT;
	return decision->action == DECISION_BYPASS ? common | MEMO_BYPASS : 0;
}

static unsigned memo_rule(const struct question *q, uint32_t memo)
{
	const unsigned rule = (uint16_t)memo;

	if ((uint8_t)(memo >> MEMO_POLICY_SHIFT) == memo_policy(q->config) && rule < q->config->n_rules)
		return rule;
	return policy_match_classes(q->policy, q->classes, q->meta);
}

static int memo_group(const struct question *q, unsigned rule, unsigned link)
{
	const struct rule_config *config = &q->config->rules[rule];

	if (config->action != RULE_GROUP || !(q->config->groups[config->target].links & UINT64_C(1) << link))
		return -1;
	return (int)config->target;
}

/* Was this tuple answered a moment ago, and does the answer still stand? */
static bool decide_repeat(const struct question *q, struct decision *out, uint32_t memo)
{
	const unsigned link = memo >> MEMO_LINK_SHIFT & MEMO_LINK_MASK;

	if (memo & MEMO_BYPASS) {
		answer_bypass(q, out, memo_rule(q, memo), REASON_REPEAT);
		return true;
	}
	if (usable_links(q) & UINT64_C(1) << link) {
		const unsigned rule = memo_rule(q, memo);

		answer_link(q, out, rule, memo_group(q, rule, link), link, REASON_REPEAT);
		return true;
	}
	return false;
}

/* ---- the interface ---- */

static struct question ask(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
			   const struct policy_classes *classes, uint64_t now)
{
	return (struct question){
		.decider = decider,
		.policy = decider->policy,
		.config = decider->policy->config,
		.flow = flow,
		.meta = meta,
		.classes = classes,
		.now = now,
	};
}

void decide_prepare(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
		    struct decide_prepared *out)
{
	out->policy = decider->policy;
	out->tuple = flow_hash_tuple(flow, decider->key);
	recent_prefetch(decider->recent, out->tuple);
	policy_classify(decider->policy, flow, meta, &out->classes);
}

void decide_prepared(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, uint64_t now,
		     const struct decide_prepared *prepared, struct decision *out)
{
	const struct question q = ask(decider, flow, meta, &prepared->classes, now);
	const uint64_t tuple = prepared->tuple;
	struct recent_entry *place;
	const uint32_t known = recent_find(decider->recent, tuple, now, &place);
	uint32_t memo;

	assert(prepared->policy == decider->policy);
	out->tuple = 0;
	if (known && decide_repeat(&q, out, known))
		return;
	decide_by_rule(&q, out);
	out->tuple = tuple;
	memo = memo_make(q.config, out);
	if (memo)
		recent_set(place, tuple, memo, now);
	/* counted at once, so that the next decision of this burst sees it */
	if (out->action == DECISION_LINK && decider->load)
		load_add(&decider->load->steered[decider->worker], (unsigned)out->link, 1);
}

struct decision decide(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, uint64_t now)
{
	struct decide_prepared prepared;
	struct decision decision;

	decide_prepare(decider, flow, meta, &prepared);
	decide_prepared(decider, flow, meta, now, &prepared, &decision);
	return decision;
}

struct decision decide_peek(const struct decider *decider, const struct flow *flow, const struct flow_meta *meta,
			    uint64_t now, int64_t scores[CONFIG_MAX_LINKS], uint64_t *sticky_age)
{
	struct policy_classes classes;
	struct question q;
	struct decision decision;

	policy_classify(decider->policy, flow, meta, &classes);
	q = ask(decider, flow, meta, &classes, now);
	decision.tuple = 0;
	memset(scores, 0, CONFIG_MAX_LINKS * sizeof(*scores));
	*sticky_age = 0;
	q.scores = scores;
	q.sticky_age = sticky_age;
	decide_by_rule(&q, &decision);
	return decision;
}

void decide_learn(struct decider *decider, const struct flow *flow, const struct flow_meta *meta, unsigned link_id,
		  uint64_t now)
{
	const struct config *config = policy_config(decider->policy);
	const struct rule_config *rule = &config->rules[policy_match(decider->policy, flow, meta)];
	const struct group_config *group;

	if (rule->action != RULE_GROUP)
		return;
	group = &config->groups[rule->target];
	if (group->sticky != STICKY_NONE)
		sticky_put(decider->sticky, sticky_key(decider, group, flow), link_id, now);
}

const char *decision_action_name(enum decision_action action)
{
	static const char *const names[] = {
		[DECISION_LINK] = "link",
		[DECISION_BYPASS] = "bypass",
		[DECISION_REJECT] = "reject",
		[DECISION_NONE] = "none",
	};

	static_assert(sizeof(names) / sizeof(*names) == DECISION_ACTIONS, "every action has a name");
	return names[action];
}

const char *decision_reason_name(enum decision_reason reason)
{
	static const char *const names[] = {
		[REASON_PINNED] = "pinned",	  [REASON_SCHEDULED] = "scheduled", [REASON_STICKY] = "sticky",
		[REASON_REPEAT] = "repeat",	  [REASON_OTHER] = "other",	    [REASON_RULE] = "rule",
		[REASON_LINK_DOWN] = "link-down", [REASON_NO_LINK] = "no-link",
	};

	static_assert(sizeof(names) / sizeof(*names) == DECISION_REASONS, "every reason has a name");
	return names[reason];
}
