/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_values.c - raw values -> numbers, words, capacities, addresses, networks
 *
 * Each get_...() returns the default where the key is absent, and also after
 * reporting a wrong value, so that reading goes on to the next mistake.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"

size_t section_count(cfg_t *section, const char *key)
{
	return cfg_size(section, key);
}

const struct value *section_nth(cfg_t *section, const char *key, size_t n)
{
	return cfg_getnptr(section, key, (unsigned)n);
}

const struct value *section_value(cfg_t *section, const char *key)
{
	return section_count(section, key) == 0 ? NULL : section_nth(section, key, 0);
}

const struct value *section_start(cfg_t *section)
{
	return section_value(section, SECTION_START);
}

void section_refuse_empty(struct parse *parse, cfg_t *section, const char *key)
{
	const cfg_opt_t *opt = cfg_getopt(section, key);
	const struct value *start = section_start(section);

	if (section_count(section, key) == 0 && (opt->flags & CFGF_MODIFIED) != 0 && start != NULL)
		parse_error(parse, start->file, start->line, "%s is an empty list, expected values or no such key",
			    key);
}

bool number_parse(const char *text, uint64_t *out)
{
	int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
	char *end;

	/* strtoull takes signs and spaces too */
	if (!isdigit((unsigned char)text[0]) || (base == 16 && !isxdigit((unsigned char)text[2])))
		return false;
	errno = 0;
	*out = strtoull(text, &end, base);
	return *end == '\0' && errno == 0;
}

uint32_t get_number(struct parse *parse, cfg_t *section, const char *key, uint32_t fallback, uint32_t min, uint32_t max)
{
	const struct value *value = section_value(section, key);
	uint64_t number;

	if (value == NULL)
		return fallback;
	if (number_parse(value->text, &number) && number >= min && number <= max)
		return (uint32_t)number;
	value_error(parse, key, value, "%" PRIu32 " to %" PRIu32, min, max);
	return fallback;
}

/* A number, whole or with decimals, up to its unit, times `scale`; false when it is none or too large */
static bool scaled_parse(const char *text, double scale, const char *unit, uint64_t *out)
{
	uint64_t whole = 0, fraction = 0, divisor = 1;
	const char *at = text;
	double sum;

	for (; at < unit && isdigit((unsigned char)*at); at++) {
		if (whole > UINT64_MAX / 100)
			return false;
		whole = whole * 10 + (uint64_t)(*at - '0');
	}
	if (at == text)
		return false;
	if (at < unit && *at == '.') {
		for (at++; at < unit && isdigit((unsigned char)*at); at++) {
			if (divisor >= UINT64_C(1000000000))
				return false;
			fraction = fraction * 10 + (uint64_t)(*at - '0');
			divisor *= 10;
		}
		if (divisor == 1)
			return false;
	}
	sum = ((double)whole + (double)fraction / (double)divisor) * scale;
	if (at != unit || sum < 1 || sum > 1e15)
		return false;
	*out = (uint64_t)(sum + 0.5);
	return true;
}

uint64_t get_capacity(struct parse *parse, cfg_t *section, const char *key)
{
	static const struct {
		const char *unit;
		double scale;
	} units[] = {
		{ "bit", 1 },	   { "k", 1e3 },      { "kbit", 1e3 },	 { "K", 1e3 },	    { "Kbit", 1e3 },
		{ "M", 1e6 },	   { "Mbit", 1e6 },   { "G", 1e9 },	 { "Gbit", 1e9 },   { "bit/s", 1 },
		{ "kbit/s", 1e3 }, { "Kbit/s", 1e3 }, { "Mbit/s", 1e6 }, { "Gbit/s", 1e9 },
	};
	const struct value *value = section_value(section, key);
	const char *unit;
	uint64_t out;

	if (value == NULL)
		return 0;
	unit = value->text + strspn(value->text, "0123456789.");
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		/* a space between number and unit is fine: "20 Mbit" */
		if (strcmp(unit + strspn(unit, " "), units[i].unit) == 0 &&
		    scaled_parse(value->text, units[i].scale, unit, &out))
			return out;
	}
	if (strchr(unit, 'B') != NULL || strstr(unit, "byte") != NULL)
		value_error(parse, key, value, "bits per second, not bytes: a number with bit, kbit, Mbit or Gbit");
	else
		value_error(parse, key, value,
			    "bits per second: a number with bit, kbit, Mbit or Gbit, such as \"20Mbit\"");
	return 0;
}

uint32_t get_seconds(struct parse *parse, cfg_t *section, const char *key, uint32_t fallback, uint32_t max)
{
	static const struct {
		const char *unit;
		uint32_t scale;
	} units[] = { { "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 } };
	const struct value *value = section_value(section, key);
	const char *unit;
	uint64_t out;

	if (value == NULL)
		return fallback;
	unit = value->text + strspn(value->text, "0123456789");
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(unit, units[i].unit) == 0 && scaled_parse(value->text, units[i].scale, unit, &out) &&
		    out <= max)
			return (uint32_t)out;
	value_error(parse, key, value, "1 to %" PRIu32 " seconds, or a number with s, m, h or d", max);
	return fallback;
}

bool get_bool(struct parse *parse, cfg_t *section, const char *key, bool fallback)
{
	const struct value *value = section_value(section, key);
	int parsed;

	if (value == NULL)
		return fallback;
	parsed = cfg_parse_boolean(value->text);
	if (parsed >= 0)
		return parsed != 0;
	value_error(parse, key, value, "true or false");
	return fallback;
}

unsigned get_word(struct parse *parse, cfg_t *section, const char *key, unsigned fallback, const char *const *words,
		  size_t n)
{
	const struct value *value = section_value(section, key);
	char expected[128];
	size_t length = 0;

	if (value == NULL)
		return fallback;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(value->text, words[i]) == 0)
			return i;
	for (size_t i = 0; i < n && length < sizeof(expected); i++)
		length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s%s",
					   i == 0	? ""
					   : i + 1 == n ? " or "
							: ", ",
					   words[i]);
	value_error(parse, key, value, "%s", expected);
	return fallback;
}

bool name_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > CONFIG_NAME_MAX || !isalnum((unsigned char)name[0]))
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && strchr("_.-", *name) == NULL)
			return false;
	return true;
}

void get_name(struct parse *parse, cfg_t *section, char out[CONFIG_NAME_MAX + 1])
{
	const struct value *start = section_start(section);

	if (!name_valid(cfg_title(section)))
		parse_error(parse, start->file, start->line,
			    "expected a name of at most %d letters, digits, '_', '.', '-', the first a letter or digit",
			    CONFIG_NAME_MAX);
	snprintf(out, CONFIG_NAME_MAX + 1, "%s", cfg_title(section));
}

const char *const interface_expected = "an interface name of 1 to 15 characters";

/* The first character that no interface's name can have, or that lists and scripts would trip over */
static const char *interface_odd(const char *name, bool wildcard)
{
	for (const char *at = name; *at != '\0'; at++) {
		if (*at == '+' && wildcard && at > name && at[1] == '\0')
			continue;
		if (!isgraph((unsigned char)*at) || strchr("/:*+\"'`\\$,;{}()[]&|<>!?#", *at) != NULL)
			return at;
	}
	return NULL;
}

bool interface_valid(const char *name, bool wildcard)
{
	size_t length = strlen(name);

	return length != 0 && length <= CONFIG_IFNAME_MAX && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
	       interface_odd(name, wildcard) == NULL;
}

bool get_interface(struct parse *parse, const char *key, const struct value *value, bool wildcard,
		   char out[CONFIG_IFNAME_MAX + 1])
{
	if (!interface_valid(value->text, wildcard)) {
		const char *odd = interface_odd(value->text, wildcard);

		if (odd != NULL)
			value_error(parse, key, value, "an interface name without '%c'",
				    isprint((unsigned char)*odd) ? *odd : '?');
		else
			value_error(parse, key, value, "%s", interface_expected);
		return false;
	}
	snprintf(out, CONFIG_IFNAME_MAX + 1, "%s", value->text);
	return true;
}

int get_address(struct parse *parse, const char *key, const struct value *value, int family, struct flow_addr *out)
{
	int found = flow_addr_parse(value->text, out);

	if (found != 0 && (family == 0 || family == found))
		return found;
	value_error(parse, key, value, "an %s address", family == 4 ? "IPv4" : family == 6 ? "IPv6" : "IPv4 or IPv6");
	return 0;
}

/* Zero the host bits of a network */
static void network_clear_host(struct flow_net *net)
{
	for (unsigned i = net->bits; i < 128; i++)
		net->addr.b[i / 8] = (uint8_t)(net->addr.b[i / 8] & ~(0x80u >> i % 8));
}

/* "addr/len" with or without host bits; false when it is no network at all */
static bool network_parse_loose(const char *text, struct flow_net *out)
{
	char addr[FLOW_ADDR_STRLEN];
	const char *slash = strchr(text, '/');
	uint64_t bits;

	if (slash == NULL || slash - text >= (ptrdiff_t)sizeof(addr))
		return false;
	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	out->family = (uint8_t)flow_addr_parse(addr, &out->addr);
	if (out->family == 0 || !number_parse(slash + 1, &bits) || bits > (out->family == 4 ? 32 : 128))
		return false;
	out->bits = (uint8_t)(out->family == 4 ? 96 + bits : bits);
	return true;
}

static void get_network(struct parse *parse, const char *key, const struct value *value, int family,
			struct flow_net *out)
{
	char meant[FLOW_ADDR_STRLEN];

	if (flow_net_parse(value->text, out) || network_parse_loose(value->text, out)) {
		struct flow_net given = *out;

		network_clear_host(out);
		if (family != 0 && out->family != family)
			value_error(parse, key, value, "an IPv%d network", family);
		else if (memcmp(&given.addr, &out->addr, sizeof(given.addr)) != 0)
			value_error(parse, key, value, "a network without host bits: %s/%d",
				    flow_addr_str(&out->addr, meant), out->family == 4 ? out->bits - 96 : out->bits);
		return;
	}
	if (family == 6)
		value_error(parse, key, value, "an IPv6 network such as 2001:db8::/48");
	else
		value_error(parse, key, value, "a network such as 192.0.2.0/24 or 2001:db8::/48");
}

void get_networks(struct parse *parse, cfg_t *section, const char *key, int family, struct flow_net **nets, size_t *n)
{
	section_refuse_empty(parse, section, key);
	for (size_t i = 0; i < section_count(section, key); i++) {
		struct flow_net *net = parse_push(parse, nets, n, sizeof(*net));

		if (net == NULL)
			return;
		get_network(parse, key, section_nth(section, key, i), family, net);
	}
}
