/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_records.c - what the rules script reads: one record per line
 *
 * Fields are separated by single spaces; no field but a path is empty or contains one.
 * Numbers are decimal, marks 0x hexadecimal. The format is an interface: a change that
 * older scripts would misread gets another version.
 *
 *   version 1
 *   mask MASK SHIFT SETTLED WAITING MAIN REJECT
 *   queue FIRST COUNT LENGTH
 *   fallback yes|no
 *   local yes|no
 *   feedback yes|no
 *   offload yes|no
 *   ip-forward set|keep
 *   source-limit N                  0: none
 *   preference N
 *   run-directory PATH
 *   helper NAME                     one each
 *   lan IFACE                       one each
 *   link ID NAME IFACE TABLE TABLENAME|- GATEWAY GATEWAY6 NAT NAT6 ADDRESS|- WEIGHT
 *        FALLBACKWEIGHT MARK SETTLEDMARK PREFIX6[,PREFIX6...]|-
 *   config-file PATH
 *   checksum HEX                    config_rules_checksum(), with the fallback's weights
 *   checksum-weightless HEX         without
 *
 * GATEWAY is off, none, auto or an address; NAT is none, masquerade or an address.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "policy/config_print.h"

#define RECORDS_VERSION 1

static void print_prefixes(FILE *out, const struct link_config *link)
{
	char net[FLOW_NET_STRLEN];

	for (size_t i = 0; i < link->n_prefixes6; i++)
		fprintf(out, "%s%s", i == 0 ? " " : ",", flow_net_str(&link->prefixes6[i], net));
	fputs(link->n_prefixes6 == 0 ? " -\n" : "\n", out);
}

/* Which of a link's weights */
enum weights {
	WEIGHTS_NONE,
	WEIGHTS_FALLBACK,
	WEIGHTS_ALL
};

static void print_link(FILE *out, const struct config *config, const struct link_config *link, enum weights weights)
{
	uint32_t mark = config_mark_link(config->mask, link->id);
	char text[CONFIG_VALUE_STRLEN];

	fprintf(out, "link %u %s %s %" PRIu32 " %s", link->id, link->name, link->interface, link->table,
		link->table_name[0] == '\0' ? "-" : link->table_name);
	fprintf(out, " %s", gateway_str(&link->gateway, text));
	fprintf(out, " %s", gateway_str(&link->gateway6, text));
	fprintf(out, " %s", nat_str(&link->nat, text));
	fprintf(out, " %s", nat_str(&link->nat6, text));
	fprintf(out, " %s", link->has_address ? flow_addr_str(&link->address, text) : "-");
	if (weights == WEIGHTS_ALL)
		fprintf(out, " %" PRIu32, link->weight);
	if (weights != WEIGHTS_NONE)
		fprintf(out, " %" PRIu32, link->fallback_weight);
	fprintf(out, " 0x%" PRIx32 " 0x%" PRIx32, mark, mark | config_mark_settled(config->mask));
	print_prefixes(out, link);
}

/* Records that the kernel's rules are made from. The links' own weights are there for
 * messages only, and change at run time. */
static void print_rule_input(FILE *out, const struct config *config, enum weights weights)
{
	uint32_t mask = config->mask;

	/* waiting and settled are one value: the top bit of the mask alone */
	fprintf(out, "mask 0x%" PRIx32 " %u 0x%" PRIx32 " 0x%" PRIx32 " 0x%" PRIx32 " 0x%" PRIx32 "\n", mask,
		config_mark_shift(mask), config_mark_settled(mask), config_mark_settled(mask), config_mark_main(mask),
		config_mark_reject(mask));
	fprintf(out, "queue %u %u %" PRIu32 "\n", config->queue_first, config->queues, config->queue_length);
	fprintf(out, "fallback %s\n", config->fallback ? "yes" : "no");
	fprintf(out, "local %s\n", config->local ? "yes" : "no");
	fprintf(out, "feedback %s\n", config->feedback ? "yes" : "no");
	fprintf(out, "offload %s\n", config->offload ? "yes" : "no");
	fprintf(out, "ip-forward %s\n", config->ip_forward == IP_FORWARD_SET ? "set" : "keep");
	fprintf(out, "source-limit %" PRIu32 "\n", config->source_limit);
	fprintf(out, "preference %u\n", config->rule_preference);
	fprintf(out, "run-directory %s\n", config->run_directory);
	for (size_t i = 0; i < config->n_helpers; i++)
		fprintf(out, "helper %s\n", config->helpers[i]);
	for (size_t i = 0; i < config->n_lan; i++)
		fprintf(out, "lan %s\n", config->lan[i]);
	for (size_t i = 0; i < config->n_links; i++)
		print_link(out, config, &config->links[i], weights);
}

uint64_t config_rules_checksum(const struct config *config, bool fallback_weights)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	size_t length = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	if (out == NULL)
		return 0;
	print_rule_input(out, config, fallback_weights ? WEIGHTS_FALLBACK : WEIGHTS_NONE);
	if (fclose(out) != 0)
		length = 0;
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	free(text);
	return sum;
}

void config_print_rules(FILE *out, const struct config *config)
{
	fprintf(out, "version %d\n", RECORDS_VERSION);
	print_rule_input(out, config, WEIGHTS_ALL);
	fprintf(out, "config-file %s\n", config->file);
	fprintf(out, "checksum %016" PRIx64 "\n", config_rules_checksum(config, true));
	fprintf(out, "checksum-weightless %016" PRIx64 "\n", config_rules_checksum(config, false));
}
