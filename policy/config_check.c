/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_check.c - what only the whole configuration can tell
 *
 * Duplicates, conflicts between sections, and the shares of the kernel's fallback.
 */
#include <stdio.h>
#include <string.h>

#include "policy/config_parse.h"
#include "policy/config_print.h"

/* Report `link` against an earlier one that has the same KEY */
static void duplicate(struct parse *parse, const struct link_config *link, const struct link_config *other,
		      const char *what)
{
	parse_error(parse, link->file, link->line,
		    "link \"%s\": %s is that of link \"%s\" (%s:%u) too, expected its own", link->name, what,
		    other->name, other->file, other->line);
}

static bool same_addr(const struct flow_addr *a, const struct flow_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* Two links on one interface are told apart by the router's address on each */
static void check_shared_interface(struct parse *parse, const struct link_config *link, const struct link_config *other)
{
	if (link->interface[0] == '\0' || strcmp(link->interface, other->interface) != 0)
		return;
	if (link->has_address && other->has_address && !same_addr(&link->address, &other->address))
		return;
	parse_error(parse, link->file, link->line,
		    "link \"%s\": interface \"%s\" is that of link \"%s\" (%s:%u) too, expected an address in both, "
		    "different ones, to tell them apart",
		    link->name, link->interface, other->name, other->file, other->line);
}

static void check_pair(struct parse *parse, const struct link_config *link, const struct link_config *other)
{
	char what[64];

	if (link->id != 0 && link->id == other->id) {
		snprintf(what, sizeof(what), "id %u (mark 0x%x)", link->id,
			 config_mark_link(parse->config->mask, link->id));
		duplicate(parse, link, other, what);
	} else if (link->table == other->table && link->table != 0) {
		/* equal ids mean equal default tables: one message is enough */
		snprintf(what, sizeof(what), "table %u", link->table);
		duplicate(parse, link, other, what);
	}
	if (link->table_name[0] != '\0' && strcmp(link->table_name, other->table_name) == 0) {
		snprintf(what, sizeof(what), "table-name \"%s\"", link->table_name);
		duplicate(parse, link, other, what);
	}
	check_shared_interface(parse, link, other);
}

static bool lan_has(const struct config *config, const char *interface)
{
	for (size_t i = 0; i < config->n_lan; i++) {
		size_t length = strlen(config->lan[i]);
		bool wildcard = length > 0 && config->lan[i][length - 1] == '+';

		if (wildcard ? strncmp(config->lan[i], interface, length - 1) == 0
			     : strcmp(config->lan[i], interface) == 0)
			return true;
	}
	return false;
}

/* Link and LAN on one interface, without NAT. For the router's own connections that cannot
 * work: their source address is chosen before the link and would stay. For hosts of the LAN
 * it works if their answers come back through this router. */
static void check_shared_lan(struct parse *parse, const struct link_config *link)
{
	const struct config *config = parse->config;
	bool nat4 = link->gateway.kind == GATEWAY_OFF || link->nat.kind != NAT_NONE;
	bool nat6 = link->gateway6.kind == GATEWAY_OFF || link->nat6.kind != NAT_NONE;

	if ((nat4 && nat6) || !lan_has(config, link->interface))
		return;
	if (config->local)
		parse_error(
			parse, link->file, link->line,
			"link \"%s\": local = true with a link without NAT on the LAN interface \"%s\": the router's own "
			"connections would leave with the address of another link, and answers to them could not be told "
			"from clients' packets, expected %s, another interface, or local = false",
			link->name, link->interface, nat4 ? "nat6" : "nat");
	else
		parse_warning(
			parse, link->file, link->line,
			"link \"%s\" is on the LAN interface \"%s\" without NAT: if its gateway answers hosts there "
			"directly, the kernel sees half of their TCP connections and loses them; %s = masquerade "
			"brings answers back here",
			link->name, link->interface, nat4 ? "nat6" : "nat");
}

static void check_links(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < config->n_links; i++) {
		/* links are sorted by id now: name the one that stands later in the file */
		for (size_t j = 0; j < i; j++) {
			const struct link_config *a = &config->links[j], *b = &config->links[i];
			bool later = strcmp(a->file, b->file) == 0 && a->line > b->line;

			check_pair(parse, later ? a : b, later ? b : a);
		}
		check_shared_lan(parse, &config->links[i]);
	}
}

/* `use` takes names of groups and links: they must not collide */
static void check_names(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < config->n_groups; i++) {
		const struct group_config *group = &config->groups[i];
		int link = config_link_by_name(config, group->name);

		if (link >= 0 && group->name[0] != '\0')
			parse_error(parse, group->file, group->line,
				    "group \"%s\": a link has this name too (%s:%u), expected another: "
				    "rules could mean either",
				    group->name, config->links[link].file, config->links[link].line);
		if (strcmp(group->name, "bypass") == 0)
			parse_error(parse, group->file, group->line,
				    "group \"bypass\": that name is an action, expected another");
	}
	for (size_t i = 0; i < config->n_links; i++)
		if (strcmp(config->links[i].name, "bypass") == 0)
			parse_error(parse, config->links[i].file, config->links[i].line,
				    "link \"bypass\": that name is an action, expected another");
}

static void warn_unused(struct parse *parse)
{
	const struct config *config = parse->config;

	if (config->n_lan == 0 && !parse->lan_stated)
		parse_warning(parse, config->file, 0, "lan is not given: %s",
			      config->local ? "only the router's own connections are steered"
					    : "no connection is steered");
	for (size_t g = 0; g < config->n_groups; g++) {
		bool used = false;

		for (size_t r = 0; r < config->n_rules; r++)
			used |= config->rules[r].action == RULE_GROUP && config->rules[r].target == g;
		if (!used)
			parse_warning(parse, config->groups[g].file, config->groups[g].line,
				      "group \"%s\": no rule uses it", config->groups[g].name);
	}
}

/* Where no link states a fallback-weight: the shares of the final rule's target */
static void derive_fallback(struct config *config)
{
	const struct rule_config *final = &config->rules[config->final_rule];

	for (size_t i = 0; i < config->n_links; i++) {
		struct link_config *link = &config->links[i];

		if ((final->action == RULE_LINK && final->target == i) ||
		    (final->action == RULE_GROUP && config->groups[final->target].tier[i] == 1))
			link->fallback_weight = link->weight;
	}
}

static void warn_fallback(struct parse *parse)
{
	const struct config *config = parse->config;

	if (!config->fallback)
		return;
	for (size_t i = 0; i < config->n_links; i++)
		if (config->links[i].fallback_weight > 0)
			return;
	parse_warning(parse, config->file, 0,
		      "every fallback-weight is 0: without the daemon, new connections take the default route");
}

void parse_check(struct parse *parse)
{
	struct config *config = parse->config;

	check_links(parse);
	check_names(parse);
	if (parse->errors->n > 0 || parse->no_memory)
		return;
	warn_unused(parse);
	warn_unreachable_rules(parse);
	while (!rule_matches_all(&config->rules[config->final_rule])) /* check_order() made sure that there is one */
		config->final_rule++;
	config->fallback_weight_stated = parse->fallback_weight_stated;
	if (!parse->fallback_weight_stated)
		derive_fallback(config);
	else
		warn_fallback(parse);
}
