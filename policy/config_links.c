/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_links.c - sections `link`
 */
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"

#define DEFAULT_TABLE_BASE 100

static void get_gateway(struct parse *parse, cfg_t *section, const char *key, int family, enum gateway_kind fallback,
			struct gateway *out)
{
	const struct value *value = section_value(section, key);

	out->kind = fallback;
	if (value == NULL)
		return;
	if (strcmp(value->text, "off") == 0)
		out->kind = GATEWAY_OFF;
	else if (strcmp(value->text, "auto") == 0)
		out->kind = GATEWAY_AUTO;
	else if (strcmp(value->text, "none") == 0)
		out->kind = GATEWAY_NONE;
	else if (flow_addr_parse(value->text, &out->addr) == family)
		out->kind = GATEWAY_ADDRESS;
	else
		value_error(parse, key, value, "an IPv%d address, auto, none or off", family);
}

static void get_nat(struct parse *parse, cfg_t *section, const char *key, int family, enum nat_kind fallback,
		    struct nat *out)
{
	const struct value *value = section_value(section, key);

	out->kind = fallback;
	if (value == NULL)
		return;
	if (strcmp(value->text, "none") == 0)
		out->kind = NAT_NONE;
	else if (strcmp(value->text, "masquerade") == 0)
		out->kind = NAT_MASQUERADE;
	else if (flow_addr_parse(value->text, &out->addr) == family)
		out->kind = NAT_SNAT;
	else
		value_error(parse, key, value, "an IPv%d address, masquerade or none", family);
}

/* The id, checked against what the mask has room for; 0 after reporting */
static unsigned get_id(struct parse *parse, cfg_t *section)
{
	unsigned max = config_max_id(parse->config->mask);
	const struct value *value = section_value(section, "id");
	const struct value *start = section_start(section);
	uint64_t id;

	if (value == NULL) {
		parse_error(parse, start->file, start->line, "id is missing, expected 1 to %u", max);
		return 0;
	}
	if (!number_parse(value->text, &id) || id == 0) {
		value_error(parse, "id", value, "1 to %u", max);
		return 0;
	}
	if (id > max) {
		if (parse->mask_ok)
			value_error(parse, "id", value, "1 to %u: mask 0x%x is too narrow for more", max,
				    parse->config->mask);
		return 0;
	}
	return (unsigned)id;
}

static void get_table(struct parse *parse, cfg_t *section, struct link_config *link)
{
	const struct value *value = section_value(section, "table");

	if (value == NULL && link->id == 0)
		return; /* the id is wrong, so is what would follow from it */
	link->table = get_number(parse, section, "table", DEFAULT_TABLE_BASE + link->id, 0, UINT32_MAX);
	if (link->table == 0 || (link->table >= 253 && link->table <= 255)) {
		if (value != NULL)
			value_error(parse, "table", value, "a number that is not the kernel's own (0, 253, 254, 255)");
		else
			parse_error(parse, link->file, link->line,
				    "table %u (100 + id) is the kernel's own, expected another one stated with table",
				    link->table);
	}
}

static void get_table_name(struct parse *parse, cfg_t *section, struct link_config *link)
{
	const struct value *name = section_value(section, "table-name");

	if (name == NULL)
		return;
	if (!name_valid(name->text) || strcmp(name->text, "main") == 0 || strcmp(name->text, "local") == 0 ||
	    strcmp(name->text, "default") == 0 || strcmp(name->text, "unspec") == 0)
		value_error(parse, "table-name", name,
			    "a name of at most %d letters, digits, '_', '.', '-', not the kernel's own",
			    CONFIG_NAME_MAX);
	else
		memcpy(link->table_name, name->text, strlen(name->text) + 1);
}

/* IPv6 without NAT works only for clients of the link's own prefixes: they must be known */
static void check_ipv6(struct parse *parse, cfg_t *section, const struct link_config *link)
{
	const struct value *gateway6 = section_value(section, "gateway6");
	const struct value *prefixes = section_value(section, "prefixes6");

	if (link->gateway6.kind == GATEWAY_OFF) {
		if (prefixes != NULL)
			parse_warning(parse, prefixes->file, prefixes->line,
				      "prefixes6 has no effect while gateway6 is off");
	} else if (link->nat6.kind == NAT_NONE && prefixes == NULL && gateway6 != NULL) {
		parse_error(
			parse, gateway6->file, gateway6->line,
			"gateway6 without nat6 needs prefixes6, expected the prefix that this provider routes to you, "
			"such as prefixes6 = { \"2001:db8:1::/48\" }, or \"::/0\" for any");
	}
}

static void get_interface_key(struct parse *parse, cfg_t *section, struct link_config *link)
{
	const struct value *value = section_value(section, "interface");

	if (value == NULL)
		parse_error(parse, link->file, link->line, "interface is missing, expected %s", interface_expected);
	else
		get_interface(parse, "interface", value, false, link->interface);
}

static void parse_link(struct parse *parse, cfg_t *section, struct link_config *link)
{
	const struct value *start = section_start(section);
	const struct value *address = section_value(section, "address");

	link->file = start->file;
	link->line = start->line;
	get_name(parse, section, link->name);
	link->id = get_id(parse, section);
	get_interface_key(parse, section, link);
	link->weight = get_number(parse, section, "weight", 1, 1, CONFIG_MAX_WEIGHT);
	link->fallback_weight = get_number(parse, section, "fallback-weight", 0, 0, CONFIG_MAX_WEIGHT);
	parse->fallback_weight_stated |= section_value(section, "fallback-weight") != NULL;
	link->download = get_capacity(parse, section, "download");
	link->upload = get_capacity(parse, section, "upload");
	get_table(parse, section, link);
	get_table_name(parse, section, link);
	get_gateway(parse, section, "gateway", 4, GATEWAY_AUTO, &link->gateway);
	get_gateway(parse, section, "gateway6", 6, GATEWAY_OFF, &link->gateway6);
	get_nat(parse, section, "nat", 4, NAT_MASQUERADE, &link->nat);
	get_nat(parse, section, "nat6", 6, NAT_NONE, &link->nat6);
	if (address != NULL)
		link->has_address = get_address(parse, "address", address, 0, &link->address) != 0;
	get_networks(parse, section, "prefixes6", 6, &link->prefixes6, &link->n_prefixes6);
	check_ipv6(parse, section, link);
	if (link->gateway.kind == GATEWAY_OFF && link->gateway6.kind == GATEWAY_OFF)
		parse_error(parse, link->file, link->line,
			    "gateway and gateway6 are off, expected at least one of them");
}

static int compare_ids(const void *a, const void *b)
{
	const struct link_config *left = a, *right = b;

	return (left->id > right->id) - (left->id < right->id);
}

void parse_links(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;
	size_t n = section_count(root, "link");

	if (n == 0)
		parse_error(parse, config->file, 0,
			    "no link, expected at least one, such as link \"NAME\" { id = 1  interface = \"eth1\" }");
	if (n > CONFIG_MAX_LINKS)
		parse_error(parse, config->file, 0, "%zu links, expected at most %d", n, CONFIG_MAX_LINKS);
	for (size_t i = 0; i < n && i < CONFIG_MAX_LINKS; i++) {
		cfg_t *section = cfg_getnsec(root, "link", (unsigned)i);
		struct link_config *link;

		if (section_start(section) == NULL)
			return; /* no memory was left, and that is reported */
		link = parse_push(parse, &config->links, &config->n_links, sizeof(*link));
		if (link == NULL)
			return;
		parse_where(parse, "link", cfg_title(section));
		parse_link(parse, section, link);
	}
	parse_where(parse, NULL, NULL);
	if (config->n_links > 1)
		qsort(config->links, config->n_links, sizeof(*config->links), compare_ids);
}
