/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_ports.c - ports of a rule: numbers, ranges, service names, files of them
 */
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"

static const char ports_expected[] = "1 to 65535, a range such as 1000-2000, or a service name";

struct ports {
	struct parse *parse;
	const struct rule_config *rule; /* its protocols choose among a service's ports */
	struct port_range **ranges;
	size_t *n;
};

static void ports_add(struct ports *ports, uint64_t first, uint64_t last)
{
	struct port_range *range = parse_push(ports->parse, ports->ranges, ports->n, sizeof(*range));

	if (range != NULL)
		*range = (struct port_range){ .first = (uint16_t)first, .last = (uint16_t)last };
}

/* "80", "1000-2000", "1000:2000" */
static bool range_parse(const char *text, uint64_t *first, uint64_t *last)
{
	size_t digits = strspn(text, "0123456789");
	char number[8];

	if (digits == 0 || digits >= sizeof(number))
		return false;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (!number_parse(number, first))
		return false;
	*last = *first;
	if (text[digits] == '\0')
		return true;
	return (text[digits] == '-' || text[digits] == ':') && number_parse(text + digits + 1, last);
}

/* A service's port in each of the rule's protocols; false when the name is unknown */
static bool service_add(struct ports *ports, const char *name)
{
	size_t n = ports->rule->n_protocols;
	int last = 0;

	for (size_t i = 0; i < (n == 0 ? 1 : n); i++) {
		int port = service_port(name, n == 0 ? 0 : ports->rule->protocols[i]);

		if (port <= 0 || port == last) /* nearly always the same in every protocol */
			continue;
		ports_add(ports, (uint64_t)port, (uint64_t)port);
		last = port;
	}
	return last != 0;
}

/* Add what one token says; NULL, or what was expected instead */
static const char *token_add(struct ports *ports, const char *token)
{
	uint64_t first, last;

	if (!range_parse(token, &first, &last))
		return service_add(ports, token) ? NULL : ports_expected;
	if (first < 1 || last > UINT16_MAX)
		return ports_expected;
	if (first > last)
		return "the lower port of the range first";
	ports_add(ports, first, last);
	return NULL;
}

/* The tokens of a port file: any white space or comma between them, # starts a comment */
static void file_tokens(struct ports *ports, const char *file, char *text, const char *end, const char *key)
{
	unsigned line = 1;
	size_t tokens = 0;
	char shown[SHOWN_MAX];

	while (text < end) {
		size_t length = strcspn(text, " \t\r\n\v\f,#");
		const char *expected;
		char stop = text[length];

		if (length == 0) {
			line += *text == '\n';
			text += *text == '#' ? strcspn(text, "\n") : 1;
			continue;
		}
		text[length] = '\0';
		expected = token_add(ports, text);
		if (expected != NULL)
			parse_error(ports->parse, file, line, "%s %s, expected %s", key, text_shown(text, shown),
				    expected);
		tokens++;
		text[length] = stop;
		text += length;
	}
	if (tokens == 0)
		parse_error(ports->parse, file, 0, "%s: no port in this file, expected at least one", key);
}

static void file_add(struct ports *ports, const char *key, const struct value *value)
{
	char *path = parse_relative_path(ports->parse, value->file, value->text);
	const char *file;
	size_t length;
	char *text;

	if (path == NULL)
		return;
	text = parse_read_file(ports->parse, path, &length, &file);
	if (text == NULL)
		parse_error(ports->parse, value->file, value->line, "%s \"%s\": %s, expected a readable file of ports",
			    key, path, parse_file_trouble());
	else
		file_tokens(ports, file, text, text + length, key);
	free(text);
	free(path);
}

void get_ports(struct parse *parse, cfg_t *section, const char *key, const char *file_key,
	       const struct rule_config *rule, struct port_range **ranges, size_t *n)
{
	struct ports ports = { .parse = parse, .rule = rule, .ranges = ranges };

	ports.n = n;
	section_refuse_empty(parse, section, key);
	section_refuse_empty(parse, section, file_key);
	for (size_t i = 0; i < section_count(section, key); i++) {
		const struct value *value = section_nth(section, key, i);
		const char *expected = token_add(&ports, value->text);

		if (expected != NULL)
			value_error(parse, key, value, "%s", expected);
	}
	for (size_t i = 0; i < section_count(section, file_key); i++)
		file_add(&ports, file_key, section_nth(section, file_key, i));
}
