/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_explain.c - `explain`: why is a flow there, where would it go
 *
 * The arguments make a flow; the kernel is asked whether it exists, the policy what
 * it would say of a new one, the routing tables where that leads. Everything found
 * goes into struct explanation; control_explain_print.c says it.
 */
#include "nfq-balancer/control_explain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_MS 1000000

/* ---- the arguments ---- */

/* A port, or `-` (and 0) where the protocol has none */
static bool parse_port(struct client *client, const char *what, const char *text, uint16_t *out)
{
	uint64_t number = 0;

	if (strcmp(text, "-") != 0 && !argument_number(client, what, text, 0, UINT16_MAX, &number))
		return false;
	*out = (uint16_t)number;
	return true;
}

static bool parse_tuple(struct client *client, char **argv, struct flow *flow)
{
	int src, dst;

	if (!argument_protocol(client, argv[0], &flow->protocol) ||
	    !argument_address(client, "source", argv[1], &flow->src, &src) ||
	    !parse_port(client, "source port", argv[2], &flow->sport) ||
	    !argument_address(client, "destination", argv[3], &flow->dst, &dst) ||
	    !parse_port(client, "destination port", argv[4], &flow->dport))
		return false;
	if (src != dst) {
		reply_error(client, "source is IPv%d, destination IPv%d: expected one family", src, dst);
		return false;
	}
	flow->family = (uint8_t)src;
	flow->ports = flow_protocol_has_ports(flow->protocol);
	return true;
}

static bool parse_mark(struct client *client, const char *text, struct explanation *explanation)
{
	uint64_t mark;
	uint32_t mask = explanation->config->mask;

	if (!argument_number(client, "mark", text, 0, UINT32_MAX, &mark))
		return false;
	if (mark & mask) {
		reply_error(client, "mark 0x%x: expected no bit of our own mask 0x%x", (unsigned)mark, mask);
		return false;
	}
	explanation->meta.mark = (uint32_t)mark;
	return true;
}

static bool parse_option(struct client *client, const char *key, const char *value, struct explanation *explanation)
{
	uint64_t number;

	if (strcmp(key, "iface") == 0) {
		explanation->meta.iface = policy_iface_slot(client->control->daemon->policy, value);
		explanation->iface_given = true;
		return true;
	}
	if (strcmp(key, "from") == 0) {
		if (strcmp(value, "router") != 0) {
			reply_error(client, "from %s: expected router", reply_quote(value));
			return false;
		}
		explanation->meta.from_router = true;
		return true;
	}
	if (strcmp(key, "dscp") == 0) {
		if (!argument_number(client, "dscp", value, 0, 63, &number))
			return false;
		explanation->flow.dscp = (uint8_t)number;
		return true;
	}
	if (strcmp(key, "mark") == 0)
		return parse_mark(client, value, explanation);
	reply_error(client, "option %s: expected iface, from, dscp or mark", reply_quote(key));
	return false;
}

static bool parse_arguments(struct client *client, int argc, char **argv, struct explanation *explanation)
{
	if (!parse_tuple(client, argv, &explanation->flow))
		return false;
	for (int i = 5; i < argc; i += 2) {
		if (i + 1 == argc) {
			reply_error(client, "option %s: expected a value behind it", reply_quote(argv[i]));
			return false;
		}
		if (!parse_option(client, argv[i], argv[i + 1], explanation))
			return false;
	}
	return true;
}

/* What was not said: where packets of this source come in is where the kernel would send to it */
static void assume_input(struct client *client, struct explanation *explanation)
{
	struct route_answer back;

	if (explanation->iface_given || explanation->meta.from_router)
		return;
	back = control_route(&explanation->flow.src, explanation->flow.family, 0);
	if (back.local)
		explanation->meta.from_router = true;
	else if (back.found)
		explanation->meta.iface = policy_iface_slot(client->control->daemon->policy, back.interface);
}

/* ---- a new flow ---- */

static void predict(struct client *client, struct explanation *explanation)
{
	const struct daemon *daemon = client->control->daemon;
	const struct decider *theirs = worker_decider(daemon->workers[0]);
	/* all of the worker's but its policy, which it may be about to swap */
	const struct decider view = {
		.policy = daemon->policy,
		.runtime = theirs->runtime,
		.sticky = theirs->sticky,
		.sched = theirs->sched,
		.load = theirs->load,
		.key = { theirs->key[0], theirs->key[1] },
	};
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	explanation->decision = decide_peek(&view, &explanation->flow, &explanation->meta,
					    (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS,
					    explanation->scores, &explanation->sticky_age);
	explanation->candidates = policy_candidates(daemon->policy, &explanation->flow);
}

/* ---- an existing flow ---- */

static bool same_tuple(const struct flow *a, const struct flow *b)
{
	return a->protocol == b->protocol && a->sport == b->sport && a->dport == b->dport &&
	       memcmp(&a->src, &b->src, sizeof(a->src)) == 0 && memcmp(&a->dst, &b->dst, sizeof(a->dst)) == 0;
}

/* Does `record` say more about why than `known` does? A repeat only says: as before. */
static bool says_more(const struct decision_record *record, const struct decision_record *known)
{
	if (known->decision.reason == REASON_REPEAT)
		return true;
	return record->decision.reason != REASON_REPEAT && record->time >= known->time;
}

/* The newest record of this flow's decision, of any worker */
static bool find_record(const struct daemon *daemon, const struct flow *flow, struct decision_record *out)
{
	struct decision_record record;
	bool found = false;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		uint64_t newest = worker_newest(daemon->workers[i]);
		uint64_t oldest = newest > WORKER_RING ? newest - WORKER_RING + 1 : 1;

		for (uint64_t number = oldest; number <= newest; number++) {
			if (!worker_record(daemon->workers[i], number, &record) || !same_tuple(&record.flow, flow))
				continue;
			if (!found || says_more(&record, out))
				*out = record;
			found = true;
		}
	}
	return found;
}

/* Did the flow's first packet come in by the link it is on? */
static bool is_inbound(const struct explanation *explanation)
{
	const struct conntrack_entry *entry = &explanation->entry;
	struct route_answer back;

	if (explanation->link < 0)
		return false;
	back = control_route(&entry->flow.src, entry->flow.family, entry->mark & explanation->config->mask);
	return back.found && !back.local &&
	       strcmp(back.interface, explanation->config->links[explanation->link].interface) == 0;
}

static void judge_entry(const struct daemon *daemon, struct explanation *explanation)
{
	uint32_t mask = explanation->config->mask, mark = explanation->entry.mark & mask;
	unsigned id = config_mark_id(mask, mark);

	explanation->link = id ? config_link_by_id(explanation->config, id) : -1;
	if (find_record(daemon, &explanation->entry.flow, &explanation->record) &&
	    explanation->record.decision.link == explanation->link)
		explanation->why = WHY_DECIDED;
	else if (mark == config_mark_main(mask))
		explanation->why = WHY_MAIN;
	else if (mark == 0)
		explanation->why = WHY_UNMARKED;
	else if (is_inbound(explanation))
		explanation->why = WHY_INBOUND;
	else
		explanation->why = WHY_UNKNOWN;
}

/* ---- where the link leads ---- */

static void look_at_way(struct explanation *explanation)
{
	const struct config *config = explanation->config;
	const struct flow *flow = explanation->exists ? &explanation->entry.flow : &explanation->flow;
	bool inbound = explanation->exists && explanation->why == WHY_INBOUND;

	if (explanation->link < 0)
		return;
	explanation->mark = config_mark_link(config->mask, config->links[explanation->link].id);
	if (explanation->exists)
		explanation->mark |= config_mark_settled(config->mask);
	/* an inbound flow's own packets go to the LAN; what leaves by the link is the answer */
	explanation->way = control_route(inbound ? &flow->src : &flow->dst, flow->family,
					 explanation->mark | explanation->meta.mark);
}

void control_explain(struct client *client, int argc, char **argv)
{
	struct explanation *explanation = calloc(1, sizeof(*explanation));
	int found;

	if (!explanation) {
		reply_error(client, "out of memory");
		return;
	}
	explanation->config = client_config(client);
	explanation->link = -1;
	if (!parse_arguments(client, argc, argv, explanation)) {
		free(explanation);
		return;
	}
	assume_input(client, explanation);
	predict(client, explanation);
	explanation->link = explanation->decision.link;
	found = conntrack_get(&explanation->flow, &explanation->entry);
	if (found > 0) {
		explanation->exists = true;
		judge_entry(client->control->daemon, explanation);
	}
	look_at_way(explanation);
	if (client->json)
		explain_json(client, explanation);
	else
		explain_text(client, explanation);
	free(explanation);
	reply_ok(client);
}
