/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_top.c - the keys that stand outside of sections
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "policy/config_parse.h"
#include "policy/config_print.h"

#define DEFAULT_MASK UINT32_C(0xff00)
#define MAX_CPU 1023 /* CPU_SETSIZE of the usual libcs, less one */
#define MAX_PREFERENCE 32700 /* main's own rule stands at 32766, and we take a few */

/* Connection tracking helpers, by the kernel's names; Q.931 and RAS are those of H.323 */
static const char *const helper_names[] = {
	"Q.931", "RAS", "amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp",
};

static const char *const ip_forward_words[] = { [IP_FORWARD_SET] = "set", [IP_FORWARD_KEEP] = "keep" };
static const char *const log_level_words[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

const char *log_level_str(enum log_level level)
{
	return log_level_words[level];
}

static void parse_mask(struct parse *parse, cfg_t *root)
{
	const struct value *value = section_value(root, "mask");
	uint64_t mask = DEFAULT_MASK;

	parse->config->mask = DEFAULT_MASK;
	parse->mask_ok = true;
	if (value == NULL)
		return;
	if (number_parse(value->text, &mask) && mask != 0 && mask <= UINT32_MAX) {
		uint32_t low = (uint32_t)mask >> config_mark_shift((uint32_t)mask);

		parse->config->mask = (uint32_t)mask;
		if ((low & (low + 1)) != 0)
			value_error(parse, "mask", value, "contiguous bits, such as 0xff00");
		else if (config_max_id((uint32_t)mask) == 0)
			value_error(parse, "mask", value, "at least 3 bits, which leave room for one link");
		else if (mask == UINT32_MAX)
			value_error(parse, "mask", value, "at most 31 bits");
		else
			return;
	} else {
		value_error(parse, "mask", value, "a 32-bit number with contiguous bits, such as 0xff00");
	}
	parse->mask_ok = false;
}

static void push_string(struct parse *parse, char ***list, size_t *n, const char *text)
{
	char *copy = parse_strdup(parse, text);
	char **slot = copy == NULL ? NULL : parse_push(parse, list, n, sizeof(*slot));

	if (slot == NULL)
		free(copy);
	else
		*slot = copy;
}

static bool listed(char *const *list, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i], text) == 0)
			return true;
	return false;
}

static void parse_lan(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;
	char name[CONFIG_IFNAME_MAX + 1];

	parse->lan_stated = (cfg_getopt(root, "lan")->flags & CFGF_MODIFIED) != 0;
	for (size_t i = 0; i < section_count(root, "lan"); i++) {
		const struct value *value = section_nth(root, "lan", i);

		if (!get_interface(parse, "lan", value, true, name))
			continue;
		if (listed(config->lan, config->n_lan, name))
			value_error(parse, "lan", value, "each interface once");
		else
			push_string(parse, &config->lan, &config->n_lan, name);
	}
}

static void parse_helpers(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;

	for (size_t i = 0; i < section_count(root, "helpers"); i++) {
		const struct value *value = section_nth(root, "helpers", i);
		bool known = false;

		for (size_t j = 0; j < sizeof(helper_names) / sizeof(helper_names[0]); j++)
			known |= strcmp(value->text, helper_names[j]) == 0;
		if (!known)
			value_error(parse, "helpers", value,
				    "ftp, sip, tftp, irc, pptp, amanda, sane, snmp, netbios-ns, Q.931 or RAS");
		else if (!listed(config->helpers, config->n_helpers, value->text))
			push_string(parse, &config->helpers, &config->n_helpers, value->text);
	}
}

/* A word such as a user's name: no spaces, nothing a shell would read. NULL: not given, or wrong */
static char *get_account(struct parse *parse, cfg_t *root, const char *key, const char *fallback)
{
	const struct value *value = section_value(root, key);

	if (value != NULL && !name_valid(value->text) && value->text[0] != '_')
		value_error(parse, key, value, "a name of at most %d characters", CONFIG_NAME_MAX);
	else if (value != NULL)
		return parse_strdup(parse, value->text);
	return fallback == NULL ? NULL : parse_strdup(parse, fallback);
}

static char *get_path(struct parse *parse, cfg_t *root, const char *key, const char *fallback, size_t max)
{
	const struct value *value = section_value(root, key);

	if (value == NULL)
		return parse_strdup(parse, fallback);
	if (value->text[0] != '/' || value->text[strcspn(value->text, " \t\r\n")] != '\0')
		value_error(parse, key, value, "an absolute path without spaces");
	else if (strlen(value->text) > max)
		value_error(parse, key, value, "at most %zu characters", max);
	return parse_strdup(parse, value->text);
}

static void parse_paths(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;
	size_t socket_max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	char socket[4096];

	config->run_directory =
		get_path(parse, root, "run-directory", "/run/nfq-balancer", socket_max - strlen("/control.sock"));
	config->state_directory = get_path(parse, root, "state-directory", "/var/lib/nfq-balancer", 1024);
	snprintf(socket, sizeof(socket), "%s/control.sock", config->run_directory == NULL ? "" : config->run_directory);
	config->socket = get_path(parse, root, "socket", socket, socket_max);
	config->user = get_account(parse, root, "user", "nfq-balancer");
	config->socket_group = get_account(parse, root, "socket-group", NULL);
}

static void parse_queues(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;

	config->queue_first = get_number(parse, root, "queue", 0, 0, UINT16_MAX);
	config->queues = get_number(parse, root, "queues", 1, 1, CONFIG_MAX_QUEUES);
	config->queue_length = get_number(parse, root, "queue-length", 4096, 1, 65536);
	if (config->queue_first + config->queues - 1 > UINT16_MAX) {
		const struct value *value = section_value(root, "queues");

		value_error(parse, "queues", value, "at most %u from queue %u on", UINT16_MAX + 1 - config->queue_first,
			    config->queue_first);
	}
}

/* off, auto, or processors */
static void parse_pin(struct parse *parse, cfg_t *root)
{
	struct pin_config *pin = &parse->config->pin;
	const size_t n = section_count(root, "pin");
	uint64_t cpu;

	for (size_t i = 0; i < n; i++) {
		const struct value *value = section_nth(root, "pin", i);
		uint16_t *slot;

		if (n == 1 && strcmp(value->text, "off") == 0)
			return;
		if (n == 1 && strcmp(value->text, "auto") == 0) {
			pin->kind = PIN_AUTO;
			return;
		}
		if (!number_parse(value->text, &cpu) || cpu > MAX_CPU) {
			value_error(parse, "pin", value, "off, auto, or a list of processors, each 0 to %d", MAX_CPU);
			continue;
		}
		slot = parse_push(parse, &pin->cpus, &pin->n_cpus, sizeof(*slot));
		if (slot == NULL)
			return;
		*slot = (uint16_t)cpu;
		pin->kind = PIN_LIST;
		pin->file = value->file;
		pin->line = value->line;
	}
}

void parse_top(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;

	parse_mask(parse, root);
	parse_lan(parse, root);
	parse_queues(parse, root);
	config->spin = get_number(parse, root, "spin", 0, 0, 10000);
	parse_pin(parse, root);
	parse_helpers(parse, root);
	config->source_limit = get_number(parse, root, "source-limit", 5000, 0, 10000000);
	config->sticky_entries = get_number(parse, root, "sticky-entries", 65536, 64, 1u << 24);
	config->fallback = get_bool(parse, root, "fallback", true);
	config->local = get_bool(parse, root, "local", false);
	config->feedback = get_bool(parse, root, "feedback", true);
	config->feedback_budget = get_number(parse, root, "feedback-budget", 20, 1, 100);
	config->feedback_interval = get_number(parse, root, "feedback-interval", 200, 0, 10000);
	config->offload = get_bool(parse, root, "offload", false);
	config->ip_forward = get_word(parse, root, "ip-forward", IP_FORWARD_SET, ip_forward_words, 2);
	config->rule_preference = get_number(parse, root, "rule-preference", 10000, 1, MAX_PREFERENCE);
	config->log_level = get_word(parse, root, "log-level", LOG_LEVEL_INFO, log_level_words, 4);
	parse_paths(parse, root);
}
