/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_explain_print.c - what `explain` found out, said
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/control_explain.h"
#include "nfq-balancer/human.h"

#define MISMATCHES_SHOWN 16

/* ---- text: a new flow ---- */

static void rule_line(struct client *client, const struct explanation *e)
{
	const struct rule_config *rule = &e->config->rules[e->decision.rule];

	reply(client, "rule    %s (%s:%u)", rule->name, human_file(rule->file), rule->line);
	for (unsigned i = 0; i < e->decision.rule && i < MISMATCHES_SHOWN; i++) {
		const char *why = policy_mismatch(client->control->daemon->policy, i, &e->flow, &e->meta);

		reply(client, "%s %s (%s)", i ? "," : "; not:", e->config->rules[i].name, why ? why : "matches");
	}
	if (e->decision.rule > MISMATCHES_SHOWN)
		reply(client, ", and %d more", e->decision.rule - MISMATCHES_SHOWN);
	reply(client, "\n");
}

/* Why a member of the group cannot be next, or NULL */
static const char *out_of_play(const struct client *client, const struct explanation *e, unsigned link)
{
	const struct daemon *daemon = client->control->daemon;
	const struct link_status *status = &daemon->links.status[link];

	if (!(e->candidates >> link & 1))
		return e->flow.family == 6 ? "not for this IPv6 source" : "no IPv4";
	if (status->state != LINK_UP)
		return link_state_name(status->state);
	if (!(link_runtime_usable(&daemon->runtime, e->flow.family) >> link & 1))
		return status->missing[e->flow.family == 6] ? status->missing[e->flow.family == 6] : "not usable";
	return NULL;
}

/* "virtua <- next, embratel (down)"; with least-load the flows sending through each as well */
static void group_line(struct client *client, const struct explanation *e)
{
	const struct group_config *group = &e->config->groups[e->decision.group];
	const struct daemon *daemon = client->control->daemon;
	const enum scheduler scheduler = link_runtime_scheduler(&daemon->runtime, group->slot);
	const char *separator = ": ";

	reply(client, "group   %s, %s", group->name, scheduler_name(scheduler));
	for (unsigned i = 0; i < e->config->n_links; i++) {
		const char *why = out_of_play(client, e, i);

		if (!(group->links >> i & 1))
			continue;
		reply(client, "%s%s", separator, e->config->links[i].name);
		separator = ", ";
		if (group->n_tiers > 1)
			reply(client, " tier %u", group->tier[i]);
		if (scheduler != SCHED_WRR && scheduler != SCHED_HASH)
			reply(client, " %u sending", load_sending(&daemon->load, i));
		if (why)
			reply(client, " (%s)", why);
		if (e->decision.link == (int)i && e->decision.reason == REASON_SCHEDULED)
			reply(client, " <- next");
	}
	if (daemon->n_workers > 1 && e->decision.reason == REASON_SCHEDULED)
		reply(client, " (as queue %u sees it)", worker_queue(daemon->workers[0]));
	reply(client, "\n");
}

static void sticky_line(struct client *client, const struct explanation *e)
{
	const struct group_config *group = &e->config->groups[e->decision.group];
	char age[HUMAN_LEN];

	if (group->sticky == STICKY_NONE)
		reply(client, "sticky  off in this group\n");
	else if (e->decision.reason == REASON_STICKY && e->decision.link >= 0)
		reply(client, "sticky  %s, by %s, last used %s ago\n", e->config->links[e->decision.link].name,
		      sticky_name(group->sticky), human_age(e->sticky_age / 1000, age));
	else
		reply(client, "sticky  none\n");
}

/* A decision without a link */
static void no_link_line(struct client *client, const struct explanation *e)
{
	uint32_t mask = e->config->mask;

	switch (e->decision.action) {
	case DECISION_BYPASS:
		reply(client, "bypass  mark 0x%x/0x%x, main's own routes\n", config_mark_main(mask), mask);
		break;
	case DECISION_REJECT:
		reply(client, "reject  mark 0x%x/0x%x, the link of this rule is down\n", config_mark_reject(mask),
		      mask);
		break;
	case DECISION_NONE:
		reply(client, "link    none is usable: the kernel's fallback takes it\n");
		break;
	case DECISION_LINK:
	case DECISION_ACTIONS:
		break;
	}
}

/* ---- text: the link ---- */

static void source_part(struct client *client, const struct explanation *e, const struct link_config *link)
{
	const struct nat *nat = e->flow.family == 6 ? &link->nat6 : &link->nat;
	char addr[FLOW_ADDR_STRLEN];

	if (e->exists && e->why == WHY_INBOUND)
		return;
	switch (nat->kind) {
	case NAT_MASQUERADE:
		reply(client, ", source %s (masquerade)",
		      e->way.has_source ? flow_addr_str(&e->way.source, addr) : "?");
		break;
	case NAT_SNAT:
		reply(client, ", source %s (snat)", flow_addr_str(&nat->addr, addr));
		break;
	case NAT_NONE:
		reply(client, ", source %s (no nat)", flow_addr_str(&e->flow.src, addr));
		break;
	}
}

static void link_line(struct client *client, const struct explanation *e)
{
	const struct link_config *link = &e->config->links[e->link];
	const struct route_answer *way = &e->way;
	char addr[FLOW_ADDR_STRLEN];

	reply(client, "link    %s, mark 0x%x/0x%x, ", link->name, e->mark, e->config->mask);
	if (!way->found) {
		reply(client, "table %u, no way out now: %s\n", link->table, way->why);
		return;
	}
	if (strcmp(way->interface, link->interface) != 0)
		reply(client, "but main's own route wins:");
	else
		reply(client, "table %u,", link->table);
	if (way->has_gateway)
		reply(client, " via %s", flow_addr_str(&way->gateway, addr));
	reply(client, " dev %s", way->interface);
	source_part(client, e, link);
	reply(client, "\n");
}

/* ---- text: the existing flow ---- */

static void entry_line(struct client *client, const struct explanation *e)
{
	const struct conntrack_entry *entry = &e->entry;
	char from[FLOW_ADDR_STRLEN + 8], to[FLOW_ADDR_STRLEN + 8], protocol[HUMAN_LEN];

	reply(client, "flow    %s %s -> %s", human_protocol(entry->flow.protocol, protocol),
	      human_endpoint(&entry->flow, true, from), human_endpoint(&entry->flow, false, to));
	if (entry->tcp_state)
		reply(client, ", %s", conntrack_tcp_state_name(entry->tcp_state));
	if (entry->packets[0] || entry->packets[1])
		reply(client, ", %" PRIu64 "/%" PRIu64 " packets", entry->packets[0], entry->packets[1]);
	reply(client, ", %u s left\n", entry->timeout);
}

static void why_line(struct client *client, const struct explanation *e)
{
	struct decision_text d;
	struct timespec now;
	char age[HUMAN_LEN];

	switch (e->why) {
	case WHY_DECIDED:
		clock_gettime(CLOCK_MONOTONIC, &now);
		decision_text(client, &e->record, &d);
		reply(client, "why     decided %s ago: rule %s, group %s, %s\n",
		      human_age((uint64_t)now.tv_sec - e->record.time / 1000000000, age), d.rule, d.group, d.reason);
		break;
	case WHY_MAIN:
		reply(client, "why     marked as not ours: main's own routes\n");
		break;
	case WHY_UNMARKED:
		reply(client, "why     not marked: older than the rules, or nothing they steer\n");
		break;
	case WHY_INBOUND:
		reply(client, "why     it came in by this link, answers leave by it\n");
		break;
	case WHY_UNKNOWN:
		reply(client, "why     decided by the kernel's fallback, or before the records reach back\n");
		break;
	}
}

/* What a new flow with these arguments would do, in one line behind the existing one */
static void new_line(struct client *client, const struct explanation *e)
{
	reply(client, "new     a new one: rule %s, %s%s%s (%s)\n", e->config->rules[e->decision.rule].name,
	      decision_action_name(e->decision.action), e->decision.link >= 0 ? " " : "",
	      e->decision.link >= 0 ? e->config->links[e->decision.link].name : "",
	      decision_reason_name(e->decision.reason));
}

void explain_text(struct client *client, const struct explanation *e)
{
	if (e->exists) {
		entry_line(client, e);
		why_line(client, e);
		if (e->link >= 0)
			link_line(client, e);
		new_line(client, e);
		return;
	}
	rule_line(client, e);
	if (e->decision.group >= 0) {
		group_line(client, e);
		sticky_line(client, e);
	} else if (e->decision.reason == REASON_OTHER) {
		reply(client, "pinned  its link is down, another one takes it\n");
	}
	if (e->link >= 0)
		link_line(client, e);
	else
		no_link_line(client, e);
}

/* ---- JSON ---- */

static json_t *mismatches(struct client *client, const struct explanation *e)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < e->decision.rule; i++) {
		const char *why = policy_mismatch(client->control->daemon->policy, i, &e->flow, &e->meta);

		json_array_append_new(list, json_pack("{ss ss?}", "rule", e->config->rules[i].name, "why", why));
	}
	return list;
}

static json_t *group_object(struct client *client, const struct explanation *e)
{
	const struct group_config *group;
	json_t *links = json_array();

	if (e->decision.group < 0) {
		json_decref(links);
		return json_null();
	}
	group = &e->config->groups[e->decision.group];
	for (unsigned i = 0; i < e->config->n_links; i++) {
		const char *why = out_of_play(client, e, i);

		if (group->links >> i & 1)
			json_array_append_new(links, json_pack("{ss si sI ss?}", "link", e->config->links[i].name,
							       "tier", (int)group->tier[i], "score",
							       (json_int_t)(why ? 0 : e->scores[i]), "out", why));
	}
	return json_pack("{ss ss so}", "group", group->name, "scheduler",
			 scheduler_name(link_runtime_scheduler(&client->control->daemon->runtime, group->slot)),
			 "links", links);
}

static json_t *decision_object(struct client *client, const struct explanation *e)
{
	const struct rule_config *rule = &e->config->rules[e->decision.rule];
	bool sticky = e->decision.reason == REASON_STICKY;

	return json_pack("{ss ss sI so ss ss so so ss?}", "rule", rule->name, "file", rule->file, "line",
			 (json_int_t)rule->line, "not", mismatches(client, e), "action",
			 decision_action_name(e->decision.action), "reason", decision_reason_name(e->decision.reason),
			 "group", group_object(client, e), "sticky_age_ms",
			 sticky ? json_integer((json_int_t)e->sticky_age) : json_null(), "link",
			 e->decision.link >= 0 ? e->config->links[e->decision.link].name : NULL);
}

static json_t *way_object(const struct explanation *e)
{
	const struct link_config *link = &e->config->links[e->link];
	char gateway[FLOW_ADDR_STRLEN], source[FLOW_ADDR_STRLEN];

	return json_pack("{ss sI sI sI sb ss ss? ss? ss}", "link", link->name, "mark", (json_int_t)e->mark, "mask",
			 (json_int_t)e->config->mask, "table", (json_int_t)link->table, "found", e->way.found,
			 "interface", e->way.interface, "gateway",
			 e->way.has_gateway ? flow_addr_str(&e->way.gateway, gateway) : NULL, "source",
			 e->way.has_source ? flow_addr_str(&e->way.source, source) : NULL, "why", e->way.why);
}

static const char *why_name(enum explain_why why)
{
	static const char *const names[] = {
		[WHY_DECIDED] = "decided", [WHY_MAIN] = "main",	      [WHY_UNMARKED] = "unmarked",
		[WHY_INBOUND] = "inbound", [WHY_UNKNOWN] = "unknown",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == WHY_UNKNOWN + 1, "one name for each reason");
	return names[why];
}

static json_t *entry_object(struct client *client, const struct explanation *e)
{
	const struct conntrack_entry *entry = &e->entry;

	return json_pack("{ss? ss sI ss sI so}", "link", e->link >= 0 ? e->config->links[e->link].name : NULL, "why",
			 why_name(e->why), "mark", (json_int_t)entry->mark, "state",
			 conntrack_tcp_state_name(entry->tcp_state), "timeout", (json_int_t)entry->timeout, "decision",
			 e->why == WHY_DECIDED ? decision_json(client, &e->record) : json_null());
}

void explain_json(struct client *client, const struct explanation *e)
{
	reply_json(client, json_pack("{so so so}", "flow", e->exists ? entry_object(client, e) : json_null(), "new",
				     decision_object(client, e), "way", e->link >= 0 ? way_object(e) : json_null()));
}
