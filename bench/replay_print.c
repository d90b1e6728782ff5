/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_print.c - what bench/replay writes
 *
 * Text: columns parted by one space, "-" where there is nothing to say, lines
 * that are no decision begin with "#". JSON: one object per line (jansson).
 * Nothing here depends on the machine, the locale or the time of the run.
 */
#include "bench/replay.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>

#define TIME_STRLEN 32
#define PROTOCOL_STRLEN 12

static const char *const skip_names[] = {
	[SKIP_CONTROL] = "ICMP error or answer",
	[SKIP_LOCAL] = "not for a router",
};
static_assert(sizeof(skip_names) / sizeof(skip_names[0]) == REPLAY_SKIPS, "one name for each");

/* Microseconds since 1970 as seconds with six digits; captures hold negative ones, too */
static const char *time_str(int64_t us, char out[TIME_STRLEN])
{
	uint64_t size = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;

	snprintf(out, TIME_STRLEN, "%s%" PRIu64 ".%06" PRIu64, us < 0 ? "-" : "", size / 1000000, size % 1000000);
	return out;
}

/* "tcp", or the number of what is rare on a LAN */
static const char *protocol_text(uint8_t protocol, char out[PROTOCOL_STRLEN])
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_ICMP:
		return "icmp";
	case IPPROTO_ICMPV6:
		return "icmpv6";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_DCCP:
		return "dccp";
	case IPPROTO_UDPLITE:
		return "udplite";
	case IPPROTO_GRE:
		return "gre";
	case IPPROTO_ESP:
		return "esp";
	default:
		snprintf(out, PROTOCOL_STRLEN, "%u", (unsigned)protocol);
		return out;
	}
}

static void print_json(json_t *object)
{
	if (object && json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0)
		putchar('\n');
	json_decref(object);
}

/* ---- decisions ---- */

void replay_print_header(const struct replay_options *options)
{
	if (options->quiet || options->json)
		return;
	puts(options->list_flows ? "# protocol source port destination port packets back"
				 : "# time protocol source port destination port rule group link reason");
}

static json_t *name_or_null(const char *name)
{
	return name ? json_string(name) : json_null();
}

void replay_print_decision(const struct replay_options *options, const struct config *config, int64_t time_us,
			   const struct flow *flow, const struct decision *decision)
{
	char time[TIME_STRLEN], protocol[PROTOCOL_STRLEN], src[FLOW_ADDR_STRLEN], dst[FLOW_ADDR_STRLEN];
	const char *rule = config->rules[decision->rule].name;
	const char *group = decision->group >= 0 ? config->groups[decision->group].name : NULL;
	const char *link = decision->link >= 0 ? config->links[decision->link].name : NULL;
	const char *reason = decision_reason_name(decision->reason);

	time_str(time_us, time);
	flow_addr_str(&flow->src, src);
	flow_addr_str(&flow->dst, dst);
	if (!options->json) {
		printf("%s %s %s %u %s %u %s %s %s %s\n", time, protocol_text(flow->protocol, protocol), src,
		       flow->sport, dst, flow->dport, rule, group ? group : "-", link ? link : "-", reason);
		return;
	}
	print_json(json_pack("{ss ss ss si ss si ss so so ss ss si}", "time", time, "protocol",
			     protocol_text(flow->protocol, protocol), "source", src, "source-port", (int)flow->sport,
			     "destination", dst, "destination-port", (int)flow->dport, "rule", rule, "group",
			     name_or_null(group), "link", name_or_null(link), "action",
			     decision_action_name(decision->action), "reason", reason, "dscp", (int)flow->dscp));
}

/* ---- flows ---- */

static void print_flow(const struct replay_options *options, const struct seen_flow *seen)
{
	char protocol[PROTOCOL_STRLEN], src[FLOW_ADDR_STRLEN], dst[FLOW_ADDR_STRLEN];
	const struct flow *flow = &seen->flow;

	flow_addr_str(&flow->src, src);
	flow_addr_str(&flow->dst, dst);
	if (!options->json) {
		printf("%s %s %u %s %u %" PRIu64 " %" PRIu64 "\n", protocol_text(flow->protocol, protocol), src,
		       flow->sport, dst, flow->dport, seen->packets[0], seen->packets[1]);
		return;
	}
	print_json(json_pack("{ss ss si ss si sI sI sI}", "protocol", protocol_text(flow->protocol, protocol), "source",
			     src, "source-port", (int)flow->sport, "destination", dst, "destination-port",
			     (int)flow->dport, "packets", (json_int_t)seen->packets[0], "packets-back",
			     (json_int_t)seen->packets[1], "bytes", (json_int_t)seen->bytes));
}

void replay_print_flows(const struct replay_options *options, const struct flow_table *table)
{
	size_t n;
	struct seen_flow *const *all = flow_table_all(table, &n);

	for (size_t i = 0; i < n; i++) {
		if (all[i]->flow.ports)
			print_flow(options, all[i]);
	}
}

/* ---- summary ---- */

static json_t *json_skipped(const struct replay_counts *counts)
{
	json_t *object = json_object();

	for (unsigned i = LINK_OK + 1; i < LINK_RESULTS; i++)
		json_object_set_new(object, link_result_name(i), json_integer((json_int_t)counts->link[i]));
	for (unsigned i = DECODE_OK + 1; i < DECODE_RESULTS; i++)
		json_object_set_new(object, decode_result_name(i), json_integer((json_int_t)counts->decode[i]));
	for (unsigned i = 0; i < REPLAY_SKIPS; i++)
		json_object_set_new(object, skip_names[i], json_integer((json_int_t)counts->skipped[i]));
	return object;
}

static json_t *json_links(const struct config *config, const struct link_runtime *runtime,
			  const struct replay_counts *counts)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < config->n_links; i++)
		json_array_append_new(array, json_pack("{ss sI sb sI sI sI}", "link", config->links[i].name, "weight",
						       (json_int_t)link_runtime_weight(runtime, i), "up",
						       (int)(link_runtime_usable(runtime, 4) >> i & 1), "flows",
						       (json_int_t)counts->link_flows[i], "packets",
						       (json_int_t)counts->link_packets[i], "bytes",
						       (json_int_t)counts->link_bytes[i]));
	return array;
}

static void json_summary(const struct config *config, const struct link_runtime *runtime,
			 const struct replay_counts *counts)
{
	json_t *actions = json_object();

	for (unsigned i = 0; i < DECISION_ACTIONS; i++)
		json_object_set_new(actions, decision_action_name(i), json_integer((json_int_t)counts->action[i]));
	print_json(json_pack("{s{sI so sI sI so so}}", "summary", "packets", (json_int_t)counts->packets, "skipped",
			     json_skipped(counts), "flows", (json_int_t)counts->flows, "inbound",
			     (json_int_t)counts->inbound, "actions", actions, "links",
			     json_links(config, runtime, counts)));
}

/* One part of "# 12 packets: not IP 3, fragment 1" */
static void text_count(const char *what, uint64_t n, bool *first)
{
	if (!n)
		return;
	printf("%s %s %" PRIu64, *first ? ":" : ",", what, n);
	*first = false;
}

static void text_summary(const struct config *config, const struct link_runtime *runtime,
			 const struct replay_counts *counts)
{
	uint64_t steered = counts->action[DECISION_LINK];
	bool first = true;

	printf("# %" PRIu64 " packets", counts->packets);
	for (unsigned i = LINK_OK + 1; i < LINK_RESULTS; i++)
		text_count(link_result_name(i), counts->link[i], &first);
	for (unsigned i = DECODE_OK + 1; i < DECODE_RESULTS; i++)
		text_count(decode_result_name(i), counts->decode[i], &first);
	for (unsigned i = 0; i < REPLAY_SKIPS; i++)
		text_count(skip_names[i], counts->skipped[i], &first);
	first = true;
	printf("\n# %" PRIu64 " flows", counts->flows);
	text_count("inbound", counts->inbound, &first);
	for (unsigned i = 0; i < DECISION_ACTIONS; i++)
		text_count(decision_action_name(i), counts->action[i], &first);
	puts("\n# link weight state flows share packets bytes");
	for (unsigned i = 0; i < config->n_links; i++) {
		double share = steered ? 100.0 * (double)counts->link_flows[i] / (double)steered : 0;

		printf("# %s %u %s %" PRIu64 " %.2f%% %" PRIu64 " %" PRIu64 "\n", config->links[i].name,
		       link_runtime_weight(runtime, i), link_runtime_usable(runtime, 4) >> i & 1 ? "up" : "down",
		       counts->link_flows[i], share, counts->link_packets[i], counts->link_bytes[i]);
	}
}

void replay_print_summary(const struct replay_options *options, const struct config *config,
			  const struct link_runtime *runtime, const struct replay_counts *counts)
{
	if (options->quiet)
		return;
	if (options->json)
		json_summary(config, runtime, counts);
	else
		text_summary(config, runtime, counts);
}
