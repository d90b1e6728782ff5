/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_rules.c - sections `rule`
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"
#include "policy/config_print.h"

#define MAX_RULES 65535 /* struct decision counts them in 16 bits */

/* A list of numbers or names, each of which `number_of` makes a byte; it returns -1 for what is none */
static void parse_bytes(struct parse *parse, cfg_t *section, const char *key, int (*number_of)(const char *text),
			const char *expected, uint8_t **list, size_t *n)
{
	section_refuse_empty(parse, section, key);
	for (size_t i = 0; i < section_count(section, key); i++) {
		const struct value *value = section_nth(section, key, i);
		int number = number_of(value->text);
		uint8_t *slot;

		if (number < 0) {
			value_error(parse, key, value, "%s", expected);
			continue;
		}
		slot = parse_push(parse, list, n, sizeof(*slot));
		if (slot != NULL)
			*slot = (uint8_t)number;
	}
}

static void parse_protocols(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	parse_bytes(parse, section, "protocol", protocol_parse, "a name such as tcp or udp, or 0 to 255",
		    &rule->protocols, &rule->n_protocols);
}

/* Ports need protocols that have them */
static void check_ports(struct parse *parse, cfg_t *section, const struct rule_config *rule)
{
	char name[16];

	if (rule->n_dports == 0 && rule->n_sports == 0)
		return;
	for (size_t i = 0; i < rule->n_protocols; i++) {
		if (!flow_protocol_has_ports(rule->protocols[i])) {
			const struct value *value = section_value(section, "protocol");

			parse_error(parse, value->file, value->line,
				    "protocol %s has no ports, expected tcp, udp, udplite, sctp or dccp beside a port",
				    protocol_str(rule->protocols[i], name));
		}
	}
}

/* Slot of an interface name, which is added when it is new; 0: no room */
static unsigned iface_slot(struct parse *parse, const char *name)
{
	struct config *config = parse->config;
	char **slot;
	char *copy;

	for (size_t i = 0; i < config->n_ifaces; i++)
		if (strcmp(config->ifaces[i], name) == 0)
			return (unsigned)i + 1;
	if (config->n_ifaces == CONFIG_MAX_IFACES) {
		parse_error(parse, config->file, 0, "rules name more than %d interfaces, expected fewer",
			    CONFIG_MAX_IFACES);
		return 0;
	}
	copy = parse_strdup(parse, name);
	slot = copy == NULL ? NULL : parse_push(parse, &config->ifaces, &config->n_ifaces, sizeof(*slot));
	if (slot == NULL) {
		free(copy);
		return 0;
	}
	*slot = copy;
	return (unsigned)config->n_ifaces;
}

static void parse_interfaces(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	char name[CONFIG_IFNAME_MAX + 1];

	section_refuse_empty(parse, section, "interface");
	for (size_t i = 0; i < section_count(section, "interface"); i++) {
		uint16_t *slot;

		if (!get_interface(parse, "interface", section_nth(section, "interface", i), false, name))
			continue;
		slot = parse_push(parse, &rule->ifaces, &rule->n_ifaces, sizeof(*slot));
		if (slot != NULL)
			*slot = (uint16_t)iface_slot(parse, name);
	}
}

static void parse_dscps(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	parse_bytes(parse, section, "dscp", dscp_parse, "0 to 63, or a class such as CS1, AF41 or EF", &rule->dscps,
		    &rule->n_dscps);
}

/* "value" or "value/mask"; the bits of config.mask are ours and cannot be matched */
static bool mark_parse(const struct parse *parse, const char *text, struct mark_match *out)
{
	const char *slash = strchr(text, '/');
	uint64_t mark, mask = UINT32_MAX & ~(uint64_t)parse->config->mask;
	char number[24];

	if (slash == NULL) {
		if (!number_parse(text, &mark))
			return false;
	} else {
		if (slash - text >= (ptrdiff_t)sizeof(number) || !number_parse(slash + 1, &mask))
			return false;
		memcpy(number, text, (size_t)(slash - text));
		number[slash - text] = '\0';
		if (!number_parse(number, &mark))
			return false;
	}
	*out = (struct mark_match){ .value = (uint32_t)mark, .mask = (uint32_t)mask };
	return mark <= UINT32_MAX && mask <= UINT32_MAX;
}

static void parse_marks(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	uint32_t ours = parse->config->mask;

	section_refuse_empty(parse, section, "mark");
	for (size_t i = 0; i < section_count(section, "mark"); i++) {
		const struct value *value = section_nth(section, "mark", i);
		struct mark_match match, *slot;

		if (!mark_parse(parse, value->text, &match)) {
			value_error(parse, "mark", value, "VALUE or VALUE/MASK, such as 0x40000/0xff0000");
		} else if (((match.value | match.mask) & ours) != 0) {
			value_error(parse, "mark", value,
				    "bits outside of mask 0x%" PRIx32 ", which are ours: 0x%" PRIx32 " overlaps", ours,
				    (match.value | match.mask) & ours);
		} else if ((match.value & ~match.mask) != 0) {
			value_error(parse, "mark", value,
				    "a value within its mask: 0x%" PRIx32 " is outside and never matches",
				    match.value & ~match.mask);
		} else {
			slot = parse_push(parse, &rule->marks, &rule->n_marks, sizeof(*slot));
			if (slot != NULL)
				*slot = match;
		}
	}
}

static void parse_from(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	static const char *const words[] = { "any", "router", "lan" };
	unsigned from = get_word(parse, section, "from", 0, words, 3);
	const struct value *value = section_value(section, "from");

	rule->from_router = from == 1;
	rule->from_lan = from == 2;
	if (!rule->from_router)
		return;
	if (!parse->config->local)
		parse_warning(
			parse, value->file, value->line,
			"from \"router\" never matches because local is off: local = true steers the router's own "
			"connections");
	if (rule->n_ifaces > 0)
		parse_warning(
			parse, value->file, value->line,
			"from \"router\" with interface never matches: the router's own connections come in by none");
}

static void parse_use(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	static const char *const words[] = { [IF_DOWN_OTHER] = "other", [IF_DOWN_REJECT] = "reject" };
	const struct value *if_down = section_value(section, "if-down");
	const struct value *value = section_value(section, "use");
	int target;

	rule->if_down = get_word(parse, section, "if-down", IF_DOWN_OTHER, words, 2);
	if (value == NULL) {
		parse_error(parse, rule->file, rule->line,
			    "use is missing, expected the name of a group or link, or bypass");
		return;
	}
	if (strcmp(value->text, "bypass") == 0) {
		rule->action = RULE_BYPASS;
	} else if ((target = config_link_by_name(parse->config, value->text)) >= 0) {
		rule->action = RULE_LINK;
		rule->target = (unsigned)target;
	} else if ((target = config_group_by_name(parse->config, value->text)) >= 0) {
		rule->action = RULE_GROUP;
		rule->target = (unsigned)target;
	} else {
		value_error(parse, "use", value, "the name of a group or link, or bypass");
		return;
	}
	if (if_down != NULL && rule->action != RULE_LINK)
		parse_warning(parse, if_down->file, if_down->line,
			      "if-down has no effect: it is for rules that use one link");
}

static void parse_rule(struct parse *parse, cfg_t *section, struct rule_config *rule)
{
	const struct value *start = section_start(section);

	rule->file = start->file;
	rule->line = start->line;
	get_name(parse, section, rule->name);
	parse_protocols(parse, section, rule);
	get_ports(parse, section, "destination-port", "destination-port-file", rule, &rule->dports, &rule->n_dports);
	get_ports(parse, section, "source-port", "source-port-file", rule, &rule->sports, &rule->n_sports);
	check_ports(parse, section, rule);
	get_networks(parse, section, "source", 0, &rule->sources, &rule->n_sources);
	get_networks(parse, section, "destination", 0, &rule->destinations, &rule->n_destinations);
	parse_interfaces(parse, section, rule);
	parse_dscps(parse, section, rule);
	parse_marks(parse, section, rule);
	parse_from(parse, section, rule);
	parse_use(parse, section, rule);
}

/* The last rule takes every flow that no other took */
static void check_order(struct parse *parse)
{
	const struct config *config = parse->config;
	const struct rule_config *last;

	if (config->n_rules == 0) {
		parse_error(parse, config->file, 0,
			    "no final rule, expected rules of which the last matches everything, such as "
			    "rule \"rest\" { use = \"GROUP\" }");
		return;
	}
	last = &config->rules[config->n_rules - 1];
	if (!rule_matches_all(last))
		parse_error(parse, last->file, last->line,
			    "no final rule: rule \"%s\" is the last and has conditions, expected one without after it, "
			    "such as "
			    "rule \"rest\" { use = \"GROUP\" }",
			    last->name);
}

void warn_unreachable_rules(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i + 1 < config->n_rules; i++) {
		if (!rule_matches_all(&config->rules[i]))
			continue;
		parse_warning(parse, config->rules[i + 1].file, config->rules[i + 1].line,
			      "rule \"%s\" and all after it never match: rule \"%s\" before it matches everything",
			      config->rules[i + 1].name, config->rules[i].name);
		break;
	}
}

void parse_rules(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;

	if (section_count(root, "rule") > MAX_RULES) {
		parse_error(parse, config->file, 0, "%zu rules, expected at most %d", section_count(root, "rule"),
			    MAX_RULES);
		return;
	}
	for (unsigned i = 0; i < section_count(root, "rule"); i++) {
		cfg_t *section = cfg_getnsec(root, "rule", i);
		struct rule_config *rule;

		if (section_start(section) == NULL)
			return; /* no memory was left, and that is reported */
		rule = parse_push(parse, &config->rules, &config->n_rules, sizeof(*rule));
		if (rule == NULL)
			return;
		parse_where(parse, "rule", cfg_title(section));
		parse_rule(parse, section, rule);
	}
	parse_where(parse, NULL, NULL);
	check_order(parse);
}
