/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_show.c - `show links`, `groups`, `rules`, `stats`
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/fallback.h"
#include "nfq-balancer/feedback.h"
#include "nfq-balancer/human.h"
#include "nfq-balancer/sampler.h"

static void reply_columns(struct client *client, struct columns *columns)
{
	char *text = columns_text(columns);

	reply(client, "%s", text ? text : "");
	free(text);
}

/* What a client asked for: an array of objects, or columns; the other is NULL */
struct listing {
	json_t *list;
	struct columns *columns;
};

static void listing_begin(const struct client *client, struct listing *listing, const char *header)
{
	listing->list = client->json ? json_array() : NULL;
	listing->columns = client->json ? NULL : columns_new();
	columns_add(listing->columns, "%s", header);
}

static void listing_end(struct client *client, struct listing *listing, const char *name)
{
	if (client->json)
		reply_json(client, json_pack("{so}", name, listing->list));
	else
		reply_columns(client, listing->columns);
	reply_ok(client);
}

/* "auto", "off", "none", or the address */
static const char *gateway_text(const struct gateway *gateway, char *out)
{
	switch (gateway->kind) {
	case GATEWAY_OFF:
		return "off";
	case GATEWAY_AUTO:
		return "auto";
	case GATEWAY_NONE:
		return "none";
	case GATEWAY_ADDRESS:
		break;
	}
	return flow_addr_str(&gateway->addr, out);
}

/* "20M/2M", "-" for what is not stated */
static void capacity_text(const struct link_config *link, char *out, size_t size)
{
	char down[HUMAN_LEN] = "-", up[HUMAN_LEN] = "-";

	if (link->download)
		human_rate(link->download, down);
	if (link->upload)
		human_rate(link->upload, up);
	snprintf(out, size, "%s/%s", down, up);
}

/* "50 %", "50 %/33 %" where IPv6 differs, "-" for what the daemon does not know */
static void fallback_text(const struct daemon *daemon, unsigned link, char *out, size_t size)
{
	const int share4 = fallback_share(daemon->fallback, link, 4),
		  share6 = fallback_share(daemon->fallback, link, 6);
	const int first = share4 < 0 ? share6 : share4;
	char text[HUMAN_LEN], text6[HUMAN_LEN];

	if (first < 0)
		snprintf(out, size, "-");
	else if (share6 < 0 || share6 == first)
		snprintf(out, size, "%s", human_percent((uint64_t)first, 1000, text));
	else
		snprintf(out, size, "%s/%s", human_percent((uint64_t)first, 1000, text),
			 human_percent((uint64_t)share6, 1000, text6));
}

static uint32_t settled_mark(const struct config *config, const struct link_config *link)
{
	return config_mark_settled(config->mask) | config_mark_link(config->mask, link->id);
}

static json_t *permille_json(int permille)
{
	return permille < 0 ? json_null() : json_integer(permille);
}

void fallback_json(json_t *object, const struct daemon *daemon, unsigned link)
{
	json_object_set_new(object, "fallback4_permille", permille_json(fallback_share(daemon->fallback, link, 4)));
	json_object_set_new(object, "fallback6_permille", permille_json(fallback_share(daemon->fallback, link, 6)));
}

static json_t *link_object(const struct daemon *daemon, const struct config *config, unsigned i)
{
	const struct link_config *link = &config->links[i];
	const struct link_status *status = &daemon->links.status[i];
	char gateway[FLOW_ADDR_STRLEN], gateway6[FLOW_ADDR_STRLEN];
	json_t *object =
		json_pack("{ss si ss ss ss sb sI sI sI sI sI sI sI ss ss ss sI sI sI sI}", "link", link->name, "id",
			  (int)link->id, "interface", link->interface, "state", link_state_name(status->state), "admin",
			  link_admin_name(status->admin), "carrier", status->carrier, "weight",
			  (json_int_t)link_runtime_weight(&daemon->runtime, i), "file_weight", (json_int_t)link->weight,
			  "download", (json_int_t)link->download, "upload", (json_int_t)link->upload, "table",
			  (json_int_t)link->table, "mark", (json_int_t)settled_mark(config, link), "mask",
			  (json_int_t)config->mask, "gateway", gateway_text(&link->gateway, gateway), "gateway6",
			  gateway_text(&link->gateway6, gateway6), "why", status->why, "sending",
			  (json_int_t)load_sending(&daemon->load, i), "known",
			  (json_int_t)feedback_link(daemon->feedback, i).known, "started",
			  (json_int_t)feedback_link(daemon->feedback, i).started, "rtt_us",
			  (json_int_t)feedback_link(daemon->feedback, i).rtt_us);

	fallback_json(object, daemon, i);
	return object;
}

void control_show_links(struct client *client, int argc, char **argv)
{
	const struct daemon *daemon = client->control->daemon;
	const struct config *config = client_config(client);
	struct listing listing;

	(void)argc;
	(void)argv;
	listing_begin(
		client, &listing,
		"LINK\tID\tINTERFACE\tSTATE\tADMIN\tWEIGHT\tSENDING\tKNOWN\tDOWN/UP\tTABLE\tMARK\tGATEWAY\tGATEWAY6\tFALLBACK");
	for (unsigned i = 0; i < config->n_links; i++) {
		const struct link_config *link = &config->links[i];
		char gateway[FLOW_ADDR_STRLEN], gateway6[FLOW_ADDR_STRLEN], capacity[2 * HUMAN_LEN];
		char fallback[2 * HUMAN_LEN];

		if (client->json)
			json_array_append_new(listing.list, link_object(daemon, config, i));
		capacity_text(link, capacity, sizeof(capacity));
		fallback_text(daemon, i, fallback, sizeof(fallback));
		columns_add(listing.columns, "%s\t%u\t%s\t%s\t%s\t%u\t%u\t%u\t%s\t%u\t0x%x\t%s\t%s\t%s", link->name,
			    link->id, link->interface, link_state_name(daemon->links.status[i].state),
			    link_admin_name(daemon->links.status[i].admin), link_runtime_weight(&daemon->runtime, i),
			    load_sending(&daemon->load, i), feedback_link(daemon->feedback, i).known, capacity,
			    link->table, settled_mark(config, link), gateway_text(&link->gateway, gateway),
			    gateway_text(&link->gateway6, gateway6), fallback);
	}
	listing_end(client, &listing, "links");
}

/* "a, b; c": tiers apart by semicolons */
static char *members_text(const struct config *config, const struct group_config *group)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (unsigned tier = 1; tier <= group->n_tiers; tier++) {
		const char *separator = tier > 1 ? "; " : "";

		for (size_t i = 0; i < config->n_links; i++) {
			if (!(group->links >> i & 1) || group->tier[i] != tier)
				continue;
			fprintf(out, "%s%s", separator, config->links[i].name);
			separator = ", ";
		}
	}
	fclose(out);
	return text;
}

static json_t *group_object(const struct daemon *daemon, const struct config *config, const struct group_config *group)
{
	enum scheduler scheduler = link_runtime_scheduler(&daemon->runtime, group->slot);
	json_t *links = json_array();

	for (size_t i = 0; i < config->n_links; i++) {
		if (group->links >> i & 1)
			json_array_append_new(links, json_pack("{ss si}", "link", config->links[i].name, "tier",
							       (int)group->tier[i]));
	}
	return json_pack("{ss ss ss ss sI so}", "group", group->name, "scheduler", scheduler_name(scheduler),
			 "file_scheduler", scheduler_name(group->scheduler), "sticky", sticky_name(group->sticky),
			 "sticky_timeout", (json_int_t)group->sticky_timeout, "links", links);
}

void control_show_groups(struct client *client, int argc, char **argv)
{
	const struct daemon *daemon = client->control->daemon;
	const struct config *config = client_config(client);
	struct listing listing;

	(void)argc;
	(void)argv;
	listing_begin(client, &listing, "GROUP\tSCHEDULER\tSTICKY\tTIMEOUT\tLINKS");
	for (size_t i = 0; i < config->n_groups; i++) {
		const struct group_config *group = &config->groups[i];
		enum scheduler scheduler = link_runtime_scheduler(&daemon->runtime, group->slot);
		char *members = members_text(config, group);

		if (client->json)
			json_array_append_new(listing.list, group_object(daemon, config, group));
		columns_add(listing.columns, "%s\t%s\t%s\t%u s\t%s", group->name, scheduler_name(scheduler),
			    sticky_name(group->sticky), group->sticky_timeout, members ? members : "");
		free(members);
	}
	listing_end(client, &listing, "groups");
}

static const char *rule_target(const struct config *config, const struct rule_config *rule)
{
	switch (rule->action) {
	case RULE_GROUP:
		return config->groups[rule->target].name;
	case RULE_LINK:
		return config->links[rule->target].name;
	case RULE_BYPASS:
		break;
	}
	return "bypass";
}

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t rule_flows(const struct daemon *daemon, size_t rule)
{
	uint64_t sum = 0;

	if (rule >= WORKER_MAX_RULES)
		rule = WORKER_MAX_RULES - 1;
	for (unsigned i = 0; i < daemon->n_workers; i++) {
		const struct worker_counters *counters = worker_counters(daemon->workers[i]);

		/* no packet came since the reload: those are counts of other rules */
		if (atomic_load_explicit(&counters->snapshot, memory_order_acquire) == daemon_snapshot_number(daemon))
			sum += load(&counters->rules[rule]);
	}
	return sum;
}

void control_show_rules(struct client *client, int argc, char **argv)
{
	static const char *const kinds[] = { [RULE_GROUP] = "group", [RULE_LINK] = "link", [RULE_BYPASS] = "bypass" };
	const struct daemon *daemon = client->control->daemon;
	const struct config *config = client_config(client);
	struct listing listing;

	(void)argc;
	(void)argv;
	listing_begin(client, &listing, "RULE\tUSE\tIF DOWN\tFLOWS\tWHERE");
	for (size_t i = 0; i < config->n_rules; i++) {
		const struct rule_config *rule = &config->rules[i];
		const char *if_down = rule->if_down == IF_DOWN_REJECT ? "reject" : "other";

		if (client->json)
			json_array_append_new(listing.list,
					      json_pack("{ss ss ss ss sI ss sI}", "rule", rule->name, "action",
							kinds[rule->action], "use", rule_target(config, rule),
							"if_down", if_down, "flows", (json_int_t)rule_flows(daemon, i),
							"file", rule->file, "line", (json_int_t)rule->line));
		columns_add(listing.columns, "%s\t%s\t%s\t%" PRIu64 "\t%s:%u", rule->name, rule_target(config, rule),
			    rule->action == RULE_LINK ? if_down : "-", rule_flows(daemon, i), human_file(rule->file),
			    rule->line);
	}
	listing_end(client, &listing, "rules");
}

/* ---- stats: every counter there is, as name and value ---- */

typedef void each_counter(void *data, const char *section, const char *name, uint64_t value);

static void worker_stats(const struct worker *worker, each_counter *each, void *data)
{
	const struct worker_counters *counters = worker_counters(worker);
	char section[32];

	snprintf(section, sizeof(section), "queue %u", worker_queue(worker));
	each(data, section, "packets", load(&counters->packets));
	each(data, section, "batches", load(&counters->batches));
	each(data, section, "errors", load(&counters->errors));
	for (unsigned i = 0; i < DECISION_ACTIONS; i++)
		each(data, section, decision_action_name((enum decision_action)i), load(&counters->actions[i]));
	for (unsigned i = 0; i < DECISION_REASONS; i++) {
		char name[40];

		snprintf(name, sizeof(name), "reason %s", decision_reason_name((enum decision_reason)i));
		each(data, section, name, load(&counters->reasons[i]));
	}
	for (unsigned i = DECODE_OK + 1; i < DECODE_RESULTS; i++) {
		char name[40];

		snprintf(name, sizeof(name), "undecoded %s", decode_result_name((enum decode_result)i));
		each(data, section, name, load(&counters->undecoded[i]));
	}
}

static void feedback_stats(const struct feedback *feedback, each_counter *each, void *data)
{
	const struct feedback_status status = feedback_status(feedback);
	const struct track_totals totals = feedback_totals(feedback);

	each(data, "feedback", "events", status.events);
	each(data, "feedback", "overruns", status.overruns);
	each(data, "feedback", "resyncs", status.resyncs);
	each(data, "feedback", "looks", status.looks);
	each(data, "feedback", "over budget", status.over_budget);
	each(data, "feedback", "cpu permille", status.cpu_permille);
	each(data, "feedback", "delay us", status.delay_us);
	each(data, "feedback", "delay p99 us", status.delay_p99_us);
	each(data, "feedback", "memory", status.memory);
	each(data, "feedback", "entries", status.entries);
	each(data, "feedback", "entries max", status.room);
	each(data, "feedback", "matched", totals.matched);
	each(data, "feedback", "ghosts", totals.ghosts);
	each(data, "feedback", "foreign", totals.foreign);
	each(data, "feedback", "moved", totals.moved);
	each(data, "feedback", "idle", totals.idle);
	each(data, "feedback", "swept", totals.swept);
	each(data, "feedback", "refused", totals.refused);
	each(data, "feedback", "untold", status.untold);
}

static void all_stats(const struct client *client, each_counter *each, void *data)
{
	const struct daemon *daemon = client->control->daemon;
	const struct config *config = client_config(client);
	struct kernel_queues queues = daemon_kernel_queues(daemon);
	struct kernel_rules rules = daemon_kernel_rules(daemon);

	for (unsigned i = 0; i < daemon->n_workers; i++)
		worker_stats(daemon->workers[i], each, data);
	for (unsigned i = 0; i < config->n_links; i++) {
		char section[CONFIG_NAME_MAX + 8];

		snprintf(section, sizeof(section), "link %s", config->links[i].name);
		each(data, section, "flows", sampler_link(daemon->sampler, i).flows);
		each(data, section, "sending", load_sending(&daemon->load, i));
		each(data, section, "known", feedback_link(daemon->feedback, i).known);
		each(data, section, "rtt us", feedback_link(daemon->feedback, i).rtt_us);
		if (rules.counted) {
			each(data, section, "decided", rules.decided[i]);
			each(data, section, "fallback", rules.fallback[i]);
		}
	}
	feedback_stats(daemon->feedback, each, data);
	each(data, "kernel", "fallback written", fallback_written(daemon->fallback));
	each(data, "kernel", "fallback failed", fallback_failed(daemon->fallback));
	if (queues.known) {
		each(data, "kernel", "waiting", queues.waiting);
		each(data, "kernel", "lost", queues.dropped);
	}
	each(data, "control", "clients", client->control->n_clients);
	each(data, "control", "reloads", daemon->reloads);
}

static void stat_text(void *data, const char *section, const char *name, uint64_t value)
{
	columns_add(data, "%s\t%s\t%" PRIu64, section, name, value);
}

static void stat_json(void *data, const char *section, const char *name, uint64_t value)
{
	json_t *object = json_object_get(data, section);

	if (!object) {
		object = json_object();
		json_object_set_new(data, section, object);
	}
	json_object_set_new(object, name, json_integer((json_int_t)value));
}

void control_show_stats(struct client *client, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (client->json) {
		json_t *stats = json_object();

		all_stats(client, stat_json, stats);
		reply_json(client, json_pack("{so}", "stats", stats));
	} else {
		struct columns *columns = columns_new();

		all_stats(client, stat_text, columns);
		reply_columns(client, columns);
	}
	reply_ok(client);
}
