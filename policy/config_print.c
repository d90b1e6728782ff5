/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_print.c - a configuration for people: what it means, defaults included
 */
#include <inttypes.h>
#include <stdlib.h>

#include "policy/config_print.h"

static void print_strings(FILE *out, const char *key, char *const *strings, size_t n, const char *none)
{
	fprintf(out, "%-16s", key);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s%s", i == 0 ? "" : ", ", strings[i]);
	fprintf(out, "%s\n", n == 0 ? none : "");
}

static void print_waiting(FILE *out, const struct config *config)
{
	if (config->spin > 0)
		fprintf(out, "%-16s%" PRIu32 " us: workers look for packets so long before they sleep\n", "spin",
			config->spin);
	else
		fprintf(out, "%-16s0: workers sleep until a packet comes\n", "spin");
	fprintf(out, "%-16s", "pin");
	if (config->pin.kind == PIN_OFF)
		fputs("off: workers run on any processor", out);
	else if (config->pin.kind == PIN_AUTO)
		fputs("auto: each worker has a processor of its own, as far as they go", out);
	for (size_t i = 0; i < config->pin.n_cpus; i++)
		fprintf(out, "%s%u", i == 0 ? "workers on processors " : ", ", config->pin.cpus[i]);
	fputc('\n', out);
}

static void print_feedback(FILE *out, const struct config *config)
{
	if (!config->feedback) {
		fprintf(out, "%-16sno: which flows are sending is not followed\n", "feedback");
		return;
	}
	fprintf(out, "%-16syes: which flows are sending is followed, within %u %% of a processor, ", "feedback",
		config->feedback_budget);
	if (config->feedback_interval > 0)
		fprintf(out, "every %" PRIu32 " us\n", config->feedback_interval);
	else
		fputs("at once\n", out);
}

static void print_top(FILE *out, const struct config *config)
{
	print_strings(out, "files", config->files, config->n_files, "-");
	print_strings(out, "lan", config->lan, config->n_lan, "none: no client's connection is steered");
	fprintf(out, "%-16s%u, NFQUEUE %u to %u, %" PRIu32 " packets each\n", "queues", config->queues,
		config->queue_first, config->queue_first + config->queues - 1, config->queue_length);
	print_waiting(out, config);
	fprintf(out, "%-16s%s\n", "fallback",
		config->fallback ? "yes: without the daemon the kernel shares new connections out"
				 : "no: without the daemon new connections are dropped");
	fprintf(out, "%-16s%s\n", "local",
		config->local ? "yes: the router's own connections are steered too"
			      : "no: the router's own connections are left alone");
	print_feedback(out, config);
	fprintf(out, "%-16s%s\n", "offload",
		config->offload ? "yes: established connections take the kernel's flowtable"
				: "no: every packet passes the hooks");
	fprintf(out, "%-16s%s\n", "ip-forward",
		config->ip_forward == IP_FORWARD_SET ? "set: start turns it on, stop puts it back"
						     : "keep: left alone");
	if (config->source_limit > 0)
		fprintf(out, "%-16s%" PRIu32 " new connections/s of one source, the fallback takes the rest\n",
			"source-limit", config->source_limit);
	else
		fprintf(out, "%-16snone\n", "source-limit");
	fprintf(out, "%-16s%" PRIu32 " entries\n", "sticky-entries", config->sticky_entries);
	print_strings(out, "helpers", config->helpers, config->n_helpers, "none");
	fprintf(out, "%-16s%u to %u in `ip rule`\n", "rule-preference", config->rule_preference,
		config->rule_preference + 4);
	fprintf(out, "%-16s%s, %s%s\n", "socket", config->socket,
		config->socket_group == NULL ? "root only" : "root and group ",
		config->socket_group == NULL ? "" : config->socket_group);
	fprintf(out, "%-16s%s\n", "user", config->user);
	fprintf(out, "%-16s%s\n", "run-directory", config->run_directory);
	fprintf(out, "%-16s%s\n", "state-directory", config->state_directory);
	fprintf(out, "%-16s%s\n", "log-level", log_level_str(config->log_level));
}

static void print_family(FILE *out, const char *family, const struct gateway *gateway, const struct nat *nat)
{
	char text[CONFIG_VALUE_STRLEN];

	fprintf(out, "  %s: ", family);
	switch (gateway->kind) {
	case GATEWAY_OFF:
		fputs("not carried\n", out);
		return;
	case GATEWAY_AUTO:
		fputs("gateway as in the main table's default route of the interface (auto)", out);
		break;
	case GATEWAY_NONE:
		fputs("no gateway, point to point", out);
		break;
	case GATEWAY_ADDRESS:
		fprintf(out, "gateway %s", flow_addr_str(&gateway->addr, text));
		break;
	}
	if (nat->kind == NAT_SNAT)
		fprintf(out, ", source address becomes %s\n", flow_addr_str(&nat->addr, text));
	else
		fputs(nat->kind == NAT_MASQUERADE ? ", masquerade\n" : ", no NAT\n", out);
}

static void print_link(FILE *out, const struct link_config *link)
{
	char down[CAPACITY_STRLEN], up[CAPACITY_STRLEN], text[FLOW_NET_STRLEN];

	fprintf(out, "\nlink %s: id %u, interface %s, weight %" PRIu32 ", table %" PRIu32 "%s%s\n", link->name,
		link->id, link->interface, link->weight, link->table, link->table_name[0] == '\0' ? "" : " ",
		link->table_name);
	fprintf(out, "  capacity: download %s, upload %s\n", capacity_str(link->download, down),
		capacity_str(link->upload, up));
	print_family(out, "IPv4", &link->gateway, &link->nat);
	print_family(out, "IPv6", &link->gateway6, &link->nat6);
	for (size_t i = 0; i < link->n_prefixes6; i++)
		fprintf(out, "%s%s", i == 0 ? "  IPv6 prefixes: " : ", ", flow_net_str(&link->prefixes6[i], text));
	if (link->n_prefixes6 > 0)
		fputc('\n', out);
	if (link->has_address)
		fprintf(out, "  address: %s\n", flow_addr_str(&link->address, text));
	fprintf(out, "  defined: %s:%u\n", link->file, link->line);
}

static void print_marks(FILE *out, const struct config *config)
{
	uint32_t mask = config->mask, settled = config_mark_settled(mask);

	fprintf(out, "\nmarks: mask 0x%" PRIx32 ", room for link ids 1 to %u\n", mask, config_max_id(mask));
	for (size_t i = 0; i < config->n_links; i++) {
		uint32_t mark = config_mark_link(mask, config->links[i].id);

		fprintf(out, "  0x%-8" PRIx32 " 0x%-8" PRIx32 " link %s (first packet, settled)\n", mark,
			mark | settled, config->links[i].name);
	}
	fprintf(out, "  0x%-8" PRIx32 "            waits for a decision\n", settled);
	fprintf(out, "  0x%-8" PRIx32 "            rejected\n", config_mark_reject(mask));
	fprintf(out, "  0x%-8" PRIx32 "            left to the main routing table\n", config_mark_main(mask));
}

static void print_fallback(FILE *out, const struct config *config)
{
	uint64_t sum = 0;

	if (!config->fallback)
		return;
	for (size_t i = 0; i < config->n_links; i++)
		sum += config->links[i].fallback_weight;
	fputs("\nfallback shares, without the daemon:\n", out);
	if (sum == 0)
		fputs("  none: the main routing table decides\n", out);
	for (size_t i = 0; i < config->n_links; i++)
		if (config->links[i].fallback_weight > 0)
			fprintf(out, "  link %s: %" PRIu32 " of %" PRIu64 " (%.1f %%)\n", config->links[i].name,
				config->links[i].fallback_weight, sum,
				100.0 * config->links[i].fallback_weight / (double)sum);
}

/* What spillover and latency go by */
static void print_threshold(FILE *out, const struct config *config, const struct group_config *group)
{
	if (group->scheduler == SCHED_SPILLOVER || group->scheduler == SCHED_LATENCY)
		fprintf(out, "  a link is loaded from %u %% of its capacity on\n", group->spill_at);
	if (group->scheduler != SCHED_SPILLOVER)
		return;
	fputs("  filled in this order:", out);
	for (unsigned tier = 1; tier <= group->n_tiers; tier++) {
		for (unsigned rank = 0; rank < config->n_links; rank++) {
			for (size_t i = 0; i < config->n_links; i++)
				if (group->tier[i] == tier && group->rank[i] == rank)
					fprintf(out, " %s", config->links[i].name);
		}
	}
	fputc('\n', out);
}

static void print_group(FILE *out, const struct config *config, const struct group_config *group)
{
	fprintf(out, "\ngroup %s: scheduler %s, sticky %s", group->name, scheduler_name(group->scheduler),
		sticky_name(group->sticky));
	if (group->sticky != STICKY_NONE)
		fprintf(out, " for %" PRIu32 " s", group->sticky_timeout);
	fputc('\n', out);
	print_threshold(out, config, group);
	for (unsigned tier = 1; tier <= group->n_tiers; tier++) {
		const char *separator = "";

		for (size_t i = 0; i < config->n_links; i++) {
			if (group->tier[i] != tier)
				continue;
			if (separator[0] == '\0')
				fprintf(out, "  tier %u%s: ", tier,
					tier == 1 ? "" : ", when no link of the tiers above is usable");
			fprintf(out, "%s%s (weight %" PRIu32 ")", separator, config->links[i].name,
				config->links[i].weight);
			separator = ", ";
		}
		if (separator[0] != '\0')
			fputc('\n', out);
	}
}

static void print_rules(FILE *out, const struct config *config)
{
	fputs("\nrules, the first that matches decides:\n", out);
	for (size_t i = 0; i < config->n_rules; i++) {
		char *text = config_rule_str(config, &config->rules[i]);

		fprintf(out, "  %-15s %s\n", config->rules[i].name, text == NULL ? "?" : text);
		free(text);
	}
}

void config_print(FILE *out, const struct config *config)
{
	print_top(out, config);
	for (size_t i = 0; i < config->n_links; i++)
		print_link(out, &config->links[i]);
	for (size_t i = 0; i < config->n_groups; i++)
		print_group(out, config, &config->groups[i]);
	print_rules(out, config);
	print_fallback(out, config);
	print_marks(out, config);
}
