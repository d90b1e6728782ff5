/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_status.c - `status`: one screen that answers "is it well"
 *
 * The first word is the answer: OK, WARN (it works, something is not as it should
 * be) or FAIL (no link is usable). What is wrong follows in words.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/feedback.h"
#include "nfq-balancer/human.h"
#include "nfq-balancer/rtnl.h"
#include "nfq-balancer/sampler.h"

/* three of a link that is set up, one of a worker, and a few of the whole */
#define MAX_TROUBLES (3 * CONFIG_MAX_LINKS + CONFIG_MAX_QUEUES + 8)
#define TROUBLE_LEN 160

struct report {
	const struct daemon *daemon;
	const struct config *config;
	struct kernel_rules rules;
	struct kernel_queues queues;
	struct feedback_status feedback;
	bool file_unchanged, differs;
	uint64_t now; /* CLOCK_REALTIME, seconds */
	unsigned up; /* links in state up */
	const char *verdict;
	char trouble[MAX_TROUBLES][TROUBLE_LEN];
	unsigned n_troubles;
};

__attribute__((format(printf, 2, 3))) static void trouble(struct report *report, const char *format, ...)
{
	va_list args;

	if (report->n_troubles == MAX_TROUBLES)
		return;
	va_start(args, format);
	vsnprintf(report->trouble[report->n_troubles++], TROUBLE_LEN, format, args);
	va_end(args);
}

static void look_at_links(struct report *report)
{
	for (unsigned i = 0; i < report->config->n_links; i++) {
		const struct link_status *status = &report->daemon->links.status[i];
		const struct link_config *link = &report->config->links[i];

		if (status->state == LINK_UP)
			report->up++;
		else
			trouble(report, "link %s: %s%s%s", link->name, link_state_name(status->state),
				status->why[0] ? ", " : "", status->why);
		if (status->state == LINK_UP && !status->carrier)
			trouble(report, "link %s: set up by administrator, but its interface is down", link->name);
		for (int family = 0; family < 2 && status->state == LINK_UP; family++) {
			const struct gateway *gateway = family ? &link->gateway6 : &link->gateway;

			if (gateway->kind != GATEWAY_OFF && status->missing[family])
				trouble(report, "link %s: no %s: %s", link->name, family ? "IPv6" : "IPv4",
					status->missing[family]);
		}
	}
}

static void count_ip_rule(const struct rtnl_object *object, void *data)
{
	unsigned *n = data;

	*n += object->protocol == RTNL_PROTOCOL && object->bits == 0;
}

/* Daemons that manage the network take away what they do not know */
static bool ip_rules_missing(const struct report *report)
{
	for (unsigned i = 0; i < 2; i++) {
		unsigned present = 0;

		if (rtnl_rules(report->daemon->rtnl, i ? 6 : 4, count_ip_rule, &present) &&
		    present < report->rules.ip_rules[i])
			return true;
	}
	return false;
}

static void look_at_rules(struct report *report)
{
	if (!report->rules.active)
		trouble(report, "rules are not active: nothing reaches the daemon; run nfq-balancer-rules start");
	else if (!strncmp(report->rules.backend, "nft", 3) && !report->rules.counted)
		trouble(report,
			"the table inet nfq_balancer is gone (flushed by another program?); run nfq-balancer-rules restart");
	else if (ip_rules_missing(report))
		trouble(report, "ip rules are missing (flushed by another program?); run nfq-balancer-rules restart");
	else if (!report->rules.same_policy)
		trouble(report, "rules were made from another policy; run nfq-balancer-rules restart");
}

static void look_at_daemon(struct report *report)
{
	const struct daemon *daemon = report->daemon;
	char text[TROUBLE_LEN];

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		if (worker_failed(daemon->workers[i]))
			trouble(report, "the worker of queue %u has ended; restart the daemon",
				worker_queue(daemon->workers[i]));
	}
	if (daemon->last_error)
		trouble(report, "the last reload failed: %s", daemon->last_error);
	else if (!daemon_file_readable(daemon, text, sizeof(text)))
		trouble(report, "%s", text);
	else if (!report->file_unchanged)
		trouble(report, "the configuration file changed since it was read: reload to use it");
	if (report->differs)
		trouble(report, "values set at runtime differ from the file");
}

static void look_at_feedback(struct report *report)
{
	if (report->feedback.source == FEEDBACK_SAMPLES)
		trouble(report, "feedback: %s: counts of sending flows lag behind", report->feedback.why);
	if (report->feedback.crowded)
		trouble(report,
			"the kernel's table of connections is nearly full: %" PRIu32 " of %" PRIu32
			" (net.netfilter.nf_conntrack_max)",
			report->feedback.entries, report->feedback.room);
}

static void look(struct report *report, const struct daemon *daemon)
{
	memset(report, 0, sizeof(*report));
	report->daemon = daemon;
	report->config = policy_config(daemon->policy);
	report->rules = daemon_kernel_rules(daemon);
	report->queues = daemon_kernel_queues(daemon);
	report->feedback = feedback_status(daemon->feedback);
	report->file_unchanged = daemon_file_unchanged(daemon);
	report->differs = overrides_differ(daemon);
	report->now = (uint64_t)time(NULL);
	look_at_links(report);
	look_at_rules(report);
	look_at_daemon(report);
	look_at_feedback(report);
	report->verdict = report->n_troubles ? "WARN" : "OK";
	if (!(link_runtime_usable(&daemon->runtime, 4) | link_runtime_usable(&daemon->runtime, 6)))
		report->verdict = "FAIL";
}

static const char *commit_name(enum commit_path commit)
{
	return commit == COMMIT_VERDICT ? "verdict" : "chain";
}

static const char *file_state(const struct report *report)
{
	if (!report->file_unchanged)
		return "file changed";
	return report->differs ? "differs from file" : "file unchanged";
}

/* ---- text ---- */

/* "09:12", with the date when that was not today */
static void loaded_text(const struct report *report, char *out, size_t size)
{
	time_t loaded = (time_t)report->daemon->policy_loaded, now = (time_t)report->now;
	struct tm then, today;

	localtime_r(&loaded, &then);
	localtime_r(&now, &today);
	if (then.tm_year == today.tm_year && then.tm_yday == today.tm_yday)
		strftime(out, size, "%H:%M", &then);
	else
		strftime(out, size, "%Y-%m-%d %H:%M", &then);
}

static void print_head(struct client *client, const struct report *report)
{
	char loaded[32];

	loaded_text(report, loaded, sizeof(loaded));
	reply(client, "%s  %u of %zu links up   ", report->verdict, report->up, report->config->n_links);
	if (report->rules.active)
		reply(client, "rules %s, %s   ", report->rules.backend,
		      report->rules.same_policy ? "active" : "of another policy");
	else
		reply(client, "rules not active   ");
	reply(client, "commit %s   policy %s, %s\n", commit_name(report->daemon->commit), loaded, file_state(report));
	for (unsigned i = 0; i < report->n_troubles; i++)
		reply(client, "      %s\n", report->trouble[i]);
}

/* "14.2M/20M", "-" where the capacity is not stated */
static void rate_cell(uint64_t bits, uint64_t capacity, char *out, size_t size)
{
	char now[HUMAN_LEN], full[HUMAN_LEN] = "-";

	if (capacity)
		human_rate(capacity, full);
	snprintf(out, size, "%s/%s", human_rate(bits, now), full);
}

static uint64_t total_5min(const struct report *report)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < report->config->n_links; i++)
		sum += sampler_link(report->daemon->sampler, i).flows_5min;
	return sum;
}

static void add_link(struct columns *columns, const struct report *report, unsigned i, uint64_t total)
{
	const struct link_config *link = &report->config->links[i];
	const struct link_status *status = &report->daemon->links.status[i];
	struct sampler_link sample = sampler_link(report->daemon->sampler, i);
	char share[HUMAN_LEN], bytes[HUMAN_LEN], rate[HUMAN_LEN], age[HUMAN_LEN];
	char down[2 * HUMAN_LEN], up[2 * HUMAN_LEN], change[128] = "-";

	rate_cell(sample.rx_bits, link->download, down, sizeof(down));
	rate_cell(sample.tx_bits, link->upload, up, sizeof(up));
	if (status->changed_once)
		snprintf(change, sizeof(change), "%s ago%s%s",
			 human_age(report->now > status->changed ? report->now - status->changed : 0, age),
			 status->why[0] ? ": " : "", status->why);
	columns_add(columns, "%s\t%s\t%u\t%u\t%s\t%s\t%s\t%s\t%s\t%s", link->name, link_state_name(status->state),
		    link_runtime_weight(&report->daemon->runtime, i), load_sending(&report->daemon->load, i),
		    human_percent(sample.flows_5min, total, share),
		    human_bytes(sample.rx_bytes + sample.tx_bytes, bytes), human_tenths(sample.rate_tenths, rate), down,
		    up, change);
}

/* Sums over links; without the kernel's counters the workers' own, and no fallback */
static void sum_decisions(const struct report *report, uint64_t *decided, uint64_t *fallback)
{
	*decided = *fallback = 0;
	for (unsigned i = 0; i < report->config->n_links; i++) {
		if (report->rules.counted) {
			*decided += report->rules.decided[i];
			*fallback += report->rules.fallback[i];
		} else {
			*decided += sampler_link(report->daemon->sampler, i).flows;
		}
	}
}

static void print_tail(struct client *client, const struct report *report)
{
	char percent[HUMAN_LEN], percent2[HUMAN_LEN];
	uint64_t decided, fallback;

	sum_decisions(report, &decided, &fallback);
	if (report->rules.counted)
		reply(client, "decided %s  fallback %s  ", human_percent2(decided, decided + fallback, percent),
		      human_percent2(fallback, decided + fallback, percent2));
	else
		reply(client, "decided %" PRIu64 " flows  fallback ?  ", decided);
	if (report->queues.known)
		reply(client, "lost %" PRIu64 "  ", report->queues.dropped);
	else
		reply(client, "lost ?  ");
	reply(client, "feedback %s\n", feedback_source_name(report->feedback.source));
}

static void print_text(struct client *client, const struct report *report)
{
	struct columns *columns = columns_new();
	uint64_t total = total_5min(report);
	char *text;

	print_head(client, report);
	columns_add(columns, "LINK\tSTATE\tWEIGHT\tSENDING\tSHARE 5m\tBYTES\tNEW/s\tDOWN\tUP\tLAST CHANGE");
	for (unsigned i = 0; i < report->config->n_links; i++)
		add_link(columns, report, i, total);
	text = columns_text(columns);
	reply(client, "%s", text ? text : "");
	free(text);
	print_tail(client, report);
}

/* ---- JSON ---- */

static json_t *link_object(const struct report *report, unsigned i)
{
	const struct link_config *link = &report->config->links[i];
	const struct link_status *status = &report->daemon->links.status[i];
	struct sampler_link sample = sampler_link(report->daemon->sampler, i);
	json_t *object =
		json_pack("{ss ss sI sI sI sI sI sI sI sI sI sI sI sI}", "link", link->name, "state",
			  link_state_name(status->state), "weight",
			  (json_int_t)link_runtime_weight(&report->daemon->runtime, i), "flows",
			  (json_int_t)sample.flows, "flows_5min", (json_int_t)sample.flows_5min, "new_per_10s",
			  (json_int_t)sample.rate_tenths, "rx_bytes", (json_int_t)sample.rx_bytes, "tx_bytes",
			  (json_int_t)sample.tx_bytes, "down_bits", (json_int_t)sample.rx_bits, "up_bits",
			  (json_int_t)sample.tx_bits, "download", (json_int_t)link->download, "upload",
			  (json_int_t)link->upload, "sending", (json_int_t)load_sending(&report->daemon->load, i),
			  "known", (json_int_t)feedback_link(report->daemon->feedback, i).known);

	json_object_set_new(object, "changed",
			    status->changed_once ? json_integer((json_int_t)status->changed) : json_null());
	json_object_set_new(object, "why", json_string(status->why));
	fallback_json(object, report->daemon, i);
	if (report->rules.counted) {
		json_object_set_new(object, "decided", json_integer((json_int_t)report->rules.decided[i]));
		json_object_set_new(object, "fallback", json_integer((json_int_t)report->rules.fallback[i]));
	}
	return object;
}

static json_t *report_object(const struct report *report)
{
	json_t *links = json_array(), *troubles = json_array();
	uint64_t decided, fallback;

	sum_decisions(report, &decided, &fallback);
	for (unsigned i = 0; i < report->config->n_links; i++)
		json_array_append_new(links, link_object(report, i));
	for (unsigned i = 0; i < report->n_troubles; i++)
		json_array_append_new(troubles, json_string(report->trouble[i]));
	return json_pack("{ss so si si s{sb sb ss} ss s{sI sb sb} so sI so so sI s{ss ss sI sI sI sI sI}}", "status",
			 report->verdict, "troubles", troubles, "links_up", (int)report->up, "links_total",
			 (int)report->config->n_links, "rules", "active", report->rules.active, "same_policy",
			 report->rules.same_policy, "backend", report->rules.backend, "commit",
			 commit_name(report->daemon->commit), "policy", "loaded",
			 (json_int_t)report->daemon->policy_loaded, "file_unchanged", report->file_unchanged,
			 "differs_from_file", report->differs, "links", links, "decided", (json_int_t)decided,
			 "fallback", report->rules.counted ? json_integer((json_int_t)fallback) : json_null(), "lost",
			 report->queues.known ? json_integer((json_int_t)report->queues.dropped) : json_null(),
			 "started", (json_int_t)report->daemon->started, "feedback", "source",
			 feedback_source_name(report->feedback.source), "why", report->feedback.why, "cpu_permille",
			 (json_int_t)report->feedback.cpu_permille, "delay_us", (json_int_t)report->feedback.delay_us,
			 "delay_p99_us", (json_int_t)report->feedback.delay_p99_us, "entries",
			 (json_int_t)report->feedback.entries, "entries_max", (json_int_t)report->feedback.room);
}

void control_status(struct client *client, int argc, char **argv)
{
	struct report *report = malloc(sizeof(*report));

	(void)argc;
	(void)argv;
	if (!report) {
		reply_error(client, "out of memory");
		return;
	}
	look(report, client->control->daemon);
	if (client->json)
		reply_json(client, report_object(report));
	else
		print_text(client, report);
	free(report);
	reply_ok(client);
}
