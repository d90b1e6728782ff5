/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_str.c - parts of a configuration as text
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/config_parse.h"
#include "policy/config_print.h"

const char *gateway_str(const struct gateway *gateway, char out[CONFIG_VALUE_STRLEN])
{
	static const char *const words[] = {
		[GATEWAY_OFF] = "off",
		[GATEWAY_AUTO] = "auto",
		[GATEWAY_NONE] = "none",
	};

	return gateway->kind == GATEWAY_ADDRESS ? flow_addr_str(&gateway->addr, out) : words[gateway->kind];
}

const char *nat_str(const struct nat *nat, char out[CONFIG_VALUE_STRLEN])
{
	if (nat->kind == NAT_SNAT)
		return flow_addr_str(&nat->addr, out);
	return nat->kind == NAT_MASQUERADE ? "masquerade" : "none";
}

const char *flow_net_str(const struct flow_net *net, char out[FLOW_NET_STRLEN])
{
	char addr[FLOW_ADDR_STRLEN];

	snprintf(out, FLOW_NET_STRLEN, "%s/%d", flow_addr_str(&net->addr, addr),
		 net->family == 4 ? net->bits - 96 : net->bits);
	return out;
}

const char *capacity_str(uint64_t capacity, char out[CAPACITY_STRLEN])
{
	static const struct {
		uint64_t scale;
		const char *unit;
	} units[] = { { UINT64_C(1000000000), "Gbit/s" }, { 1000000, "Mbit/s" }, { 1000, "kbit/s" }, { 1, "bit/s" } };
	size_t i = 0;

	if (capacity == 0) {
		snprintf(out, CAPACITY_STRLEN, "-");
		return out;
	}
	while (capacity < units[i].scale)
		i++;
	snprintf(out, CAPACITY_STRLEN, "%.10g %s", (double)capacity / (double)units[i].scale, units[i].unit);
	return out;
}

bool rule_matches_all(const struct rule_config *rule)
{
	return rule->n_protocols == 0 && rule->n_dports == 0 && rule->n_sports == 0 && rule->n_sources == 0 &&
	       rule->n_destinations == 0 && rule->n_ifaces == 0 && rule->n_dscps == 0 && rule->n_marks == 0 &&
	       !rule->from_router && !rule->from_lan;
}

/* ---- a rule on one line ---- */

static void print_ports(FILE *out, const char *what, const struct port_range *ranges, size_t n)
{
	if (n == 0)
		return;
	fprintf(out, " %s", what);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, "%s%u", i == 0 ? " " : ",", ranges[i].first);
		if (ranges[i].last != ranges[i].first)
			fprintf(out, "-%u", ranges[i].last);
	}
}

static void print_networks(FILE *out, const char *what, const struct flow_net *nets, size_t n)
{
	char text[FLOW_NET_STRLEN];

	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s%s", i > 0 ? "," : what, flow_net_str(&nets[i], text));
}

static void print_protocols(FILE *out, const struct rule_config *rule)
{
	char name[16];

	if (rule->n_protocols == 0)
		fputs(rule->n_dports + rule->n_sports > 0 ? "any protocol with ports" : "any protocol", out);
	for (size_t i = 0; i < rule->n_protocols; i++)
		fprintf(out, "%s%s", i == 0 ? "" : ",", protocol_str(rule->protocols[i], name));
}

static void print_conditions(FILE *out, const struct config *config, const struct rule_config *rule)
{
	if (rule_matches_all(rule)) {
		fputs("everything", out);
		return;
	}
	print_protocols(out, rule);
	print_ports(out, "to port", rule->dports, rule->n_dports);
	print_ports(out, "from port", rule->sports, rule->n_sports);
	print_networks(out, " from ", rule->sources, rule->n_sources);
	print_networks(out, " to ", rule->destinations, rule->n_destinations);
	for (size_t i = 0; i < rule->n_ifaces; i++)
		fprintf(out, "%s%s", i == 0 ? " in by " : ",", config->ifaces[rule->ifaces[i] - 1]);
	for (size_t i = 0; i < rule->n_dscps; i++)
		fprintf(out, "%s%u", i == 0 ? " dscp " : ",", rule->dscps[i]);
	for (size_t i = 0; i < rule->n_marks; i++)
		fprintf(out, "%s0x%" PRIx32 "/0x%" PRIx32, i == 0 ? " mark " : ",", rule->marks[i].value,
			rule->marks[i].mask);
	if (rule->from_router)
		fputs(" of the router itself", out);
	if (rule->from_lan)
		fputs(" of the LAN", out);
}

static void print_action(FILE *out, const struct config *config, const struct rule_config *rule)
{
	switch (rule->action) {
	case RULE_GROUP:
		fprintf(out, " -> group %s", config->groups[rule->target].name);
		break;
	case RULE_LINK:
		fprintf(out, " -> link %s, %s", config->links[rule->target].name,
			rule->if_down == IF_DOWN_REJECT ? "rejected while it is down"
							: "another link while it is down");
		break;
	case RULE_BYPASS:
		fputs(" -> bypass: the main routing table decides", out);
		break;
	}
}

char *config_rule_str(const struct config *config, const struct rule_config *rule)
{
	size_t length = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	if (out == NULL)
		return NULL;
	print_conditions(out, config, rule);
	print_action(out, config, rule);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
