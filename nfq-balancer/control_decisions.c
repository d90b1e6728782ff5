/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_decisions.c - the workers' records of decisions, read and shown
 *
 * A record names rule and group by index into the policy it was made with. After a
 * reload the indices of older records may mean something else: their names are left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/human.h"

#define DECISIONS_DEFAULT 20
#define DECISIONS_MAX 10000

#define NS_PER_S UINT64_C(1000000000)

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The record's time on the wall clock, ns */
static uint64_t wall_time(const struct decision_record *record)
{
	return clock_ns(CLOCK_REALTIME) - (clock_ns(CLOCK_MONOTONIC) - record->time);
}

static bool of_this_policy(const struct client *client, const struct decision_record *record)
{
	return record->snapshot == (uint32_t)daemon_snapshot_number(client->control->daemon);
}

static const char *link_name(const struct config *config, const struct decision *decision)
{
	if (decision->link >= 0 && (size_t)decision->link < config->n_links)
		return config->links[decision->link].name;
	return decision_action_name(decision->action);
}

static const char *rule_name(const struct client *client, const struct decision_record *record)
{
	const struct config *config = client_config(client);

	if (!of_this_policy(client, record) || record->decision.rule >= config->n_rules)
		return NULL;
	return config->rules[record->decision.rule].name;
}

static const char *group_name(const struct client *client, const struct decision_record *record)
{
	const struct config *config = client_config(client);
	int group = record->decision.group;

	if (!of_this_policy(client, record) || group < 0 || (size_t)group >= config->n_groups)
		return NULL;
	return config->groups[group].name;
}

void decision_text(const struct client *client, const struct decision_record *record, struct decision_text *out)
{
	const char *rule = rule_name(client, record), *group = group_name(client, record);
	uint64_t wall = wall_time(record);
	time_t seconds = (time_t)(wall / NS_PER_S);
	char protocol[HUMAN_LEN];
	struct tm tm;
	size_t len;

	localtime_r(&seconds, &tm);
	len = strftime(out->time, sizeof(out->time), "%H:%M:%S", &tm);
	snprintf(out->time + len, sizeof(out->time) - len, ".%03u", (unsigned)(wall % NS_PER_S / 1000000));
	snprintf(out->protocol, sizeof(out->protocol), "%s", human_protocol(record->flow.protocol, protocol));
	human_endpoint(&record->flow, true, out->flow_client);
	human_endpoint(&record->flow, false, out->server);
	out->link = link_name(client_config(client), &record->decision);
	out->reason = decision_reason_name(record->decision.reason);
	out->rule = rule ? rule : "-";
	out->group = group ? group : "-";
}

json_t *decision_json(const struct client *client, const struct decision_record *record)
{
	const struct config *config = client_config(client);
	const struct flow *flow = &record->flow;
	const struct decision *decision = &record->decision;
	char protocol[HUMAN_LEN], src[FLOW_ADDR_STRLEN], dst[FLOW_ADDR_STRLEN];
	uint64_t wall = wall_time(record);

	return json_pack("{ss sI ss ss si ss si si sb ss ss ss? ss? ss? si sI}", "type", "decision", "time_ms",
			 (json_int_t)(wall / 1000000), "protocol", human_protocol(flow->protocol, protocol), "src",
			 flow_addr_str(&flow->src, src), "sport", (int)flow->sport, "dst",
			 flow_addr_str(&flow->dst, dst), "dport", (int)flow->dport, "dscp", (int)flow->dscp,
			 "from_router", record->meta.from_router, "action", decision_action_name(decision->action),
			 "reason", decision_reason_name(decision->reason), "rule", rule_name(client, record), "group",
			 group_name(client, record), "link",
			 decision->link >= 0 ? config->links[decision->link].name : NULL, "worker", (int)record->worker,
			 "number", (json_int_t)record->number);
}

static int by_time(const void *a, const void *b)
{
	const struct decision_record *left = a, *right = b;

	if (left->time != right->time)
		return left->time < right->time ? -1 : 1;
	return left->number < right->number ? -1 : left->number > right->number;
}

/* The newest `wanted` records of each worker, oldest first. Returns how many. */
static size_t collect(const struct daemon *daemon, struct decision_record *records, size_t wanted)
{
	size_t n = 0;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		uint64_t newest = worker_newest(daemon->workers[i]);
		uint64_t number = newest > wanted ? newest - wanted + 1 : 1;

		for (; number <= newest; number++)
			n += worker_record(daemon->workers[i], number, &records[n]);
	}
	qsort(records, n, sizeof(*records), by_time);
	return n;
}

static void print_text(struct client *client, const struct decision_record *records, size_t n)
{
	struct columns *columns = columns_new();
	char *text;

	columns_add(columns, "TIME\tPROTO\tCLIENT\tSERVER\tLINK\tREASON\tRULE\tGROUP");
	for (size_t i = 0; i < n; i++) {
		struct decision_text d;

		decision_text(client, &records[i], &d);
		columns_add(columns, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", d.time, d.protocol, d.flow_client, d.server,
			    d.link, d.reason, d.rule, d.group);
	}
	text = columns_text(columns);
	reply(client, "%s", text ? text : "");
	free(text);
}

static void print_json(struct client *client, const struct decision_record *records, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, decision_json(client, &records[i]));
	reply_json(client, json_pack("{so}", "decisions", list));
}

void control_show_decisions(struct client *client, int argc, char **argv)
{
	const struct daemon *daemon = client->control->daemon;
	struct decision_record *records;
	uint64_t wanted = DECISIONS_DEFAULT;
	size_t n, kept;

	if (argc > 0 && !argument_number(client, "number of decisions", argv[0], 1, DECISIONS_MAX, &wanted))
		return;
	kept = wanted < WORKER_RING ? (size_t)wanted : WORKER_RING;
	records = calloc(kept * daemon->n_workers + 1, sizeof(*records));
	if (!records) {
		reply_error(client, "out of memory");
		return;
	}
	n = collect(daemon, records, kept);
	if (wanted > n)
		wanted = n;
	if (client->json)
		print_json(client, records + n - wanted, (size_t)wanted);
	else
		print_text(client, records + n - wanted, (size_t)wanted);
	free(records);
	reply_ok(client);
}
