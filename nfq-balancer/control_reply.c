/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_reply.c - what goes back to a client, and arguments read
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/human.h"

static struct evbuffer *output(struct client *client)
{
	return bufferevent_get_output(client->bev);
}

void reply(struct client *client, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	evbuffer_add_vprintf(output(client), format, args);
	va_end(args);
}

void reply_json(struct client *client, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_COMPACT) : NULL;

	/* NULL: out of memory, or a name in the configuration that is not UTF-8 */
	reply(client, "%s\n", text ? text : "{\"failed\":\"not expressible as JSON\"}");
	free(text);
	json_decref(value);
}

void reply_ok(struct client *client)
{
	reply(client, "ok\n");
}

void reply_error(struct client *client, const char *format, ...)
{
	va_list args;

	reply(client, "error ");
	va_start(args, format);
	evbuffer_add_vprintf(output(client), format, args);
	va_end(args);
	reply(client, "\n");
}

const char *reply_quote(const char *text)
{
	static char quoted[72];
	size_t n = 0;

	quoted[n++] = '"';
	for (; *text && n < 64; text++)
		quoted[n++] = isprint((unsigned char)*text) ? *text : '?';
	snprintf(quoted + n, sizeof(quoted) - n, "%s\"", *text ? "..." : "");
	return quoted;
}

/* ---- arguments ---- */

/* "unknown <what> "x": expected one of a, b, c". The names are an array of structs
 * that each begin with theirs. */
static void reply_unknown(struct client *client, const char *what, const char *name, const void *first, size_t size,
			  size_t n)
{
	reply(client, "error unknown %s %s: expected one of", what, reply_quote(name));
	for (size_t i = 0; i < n && i < CONFIG_MAX_GROUPS; i++)
		reply(client, "%s %s", i ? "," : "", (const char *)first + i * size);
	reply(client, "%s\n", n > CONFIG_MAX_GROUPS ? ", ..." : "");
}

int argument_link(struct client *client, const char *name)
{
	const struct config *config = client_config(client);
	int link = config_link_by_name(config, name);

	if (link < 0)
		reply_unknown(client, "link", name, config->links, sizeof(*config->links), config->n_links);
	return link;
}

int argument_group(struct client *client, const char *name)
{
	const struct config *config = client_config(client);
	int group = config_group_by_name(config, name);

	if (group < 0 && config->n_groups == 0)
		reply_error(client, "unknown group %s: the configuration has no groups", reply_quote(name));
	else if (group < 0)
		reply_unknown(client, "group", name, config->groups, sizeof(*config->groups), config->n_groups);
	return group;
}

int argument_rule(struct client *client, const char *name)
{
	const struct config *config = client_config(client);

	for (size_t i = 0; i < config->n_rules; i++) {
		if (strcmp(config->rules[i].name, name) == 0)
			return (int)i;
	}
	reply_unknown(client, "rule", name, config->rules, sizeof(*config->rules), config->n_rules);
	return -1;
}

bool argument_number(struct client *client, const char *what, const char *text, uint64_t min, uint64_t max,
		     uint64_t *out)
{
	char *end;
	int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;

	errno = 0;
	*out = strtoull(text, &end, base);
	/* strtoull() takes blanks and signs; we do not */
	if (!isdigit((unsigned char)text[0]) || *end || errno || *out < min || *out > max) {
		reply_error(client, "%s %s: expected a number from %" PRIu64 " to %" PRIu64, what, reply_quote(text),
			    min, max);
		return false;
	}
	return true;
}

bool argument_address(struct client *client, const char *what, const char *text, struct flow_addr *out, int *family)
{
	*family = flow_addr_parse(text, out);
	if (*family == 0)
		reply_error(client, "%s %s: expected an IPv4 or IPv6 address", what, reply_quote(text));
	return *family != 0;
}

bool argument_protocol(struct client *client, const char *text, uint8_t *out)
{
	int protocol = human_protocol_parse(text);

	if (protocol < 0) {
		reply_error(client, "protocol %s: expected tcp, udp, icmp, icmpv6, sctp, ... or a number up to 255",
			    reply_quote(text));
		return false;
	}
	*out = (uint8_t)protocol;
	return true;
}
