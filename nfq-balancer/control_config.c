/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_config.c - `show config`: the running configuration
 *
 * The text is what `nfq-balancer -n` prints of a file. Links, groups and rules have
 * JSON of their own (show links, groups, rules); here is the rest.
 */
#include <stdio.h>
#include <stdlib.h>

#include "nfq-balancer/control_private.h"
#include "policy/config_print.h"

static json_t *names(char *const *list, size_t n)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(array, json_string(list[i]));
	return array;
}

/* "off", "auto", or a list of processors */
static json_t *pinned(const struct pin_config *pin)
{
	json_t *array;

	if (pin->kind != PIN_LIST)
		return json_string(pin->kind == PIN_AUTO ? "auto" : "off");
	array = json_array();
	for (size_t i = 0; i < pin->n_cpus; i++)
		json_array_append_new(array, json_integer(pin->cpus[i]));
	return array;
}

static json_t *config_object(const struct config *config)
{
	return json_pack("{ss so so so sI si si sI si so sI sI sb sb sb si sI sb ss si ss ss? ss ss ss}", "file",
			 config->file, "files", names(config->files, config->n_files), "lan",
			 names(config->lan, config->n_lan), "helpers", names(config->helpers, config->n_helpers),
			 "mask", (json_int_t)config->mask, "queue", (int)config->queue_first, "queues",
			 (int)config->queues, "queue_length", (json_int_t)config->queue_length, "spin",
			 (int)config->spin, "pin", pinned(&config->pin), "source_limit",
			 (json_int_t)config->source_limit, "sticky_entries", (json_int_t)config->sticky_entries,
			 "fallback", config->fallback, "local", config->local, "feedback", config->feedback,
			 "feedback_budget", (int)config->feedback_budget, "feedback_interval",
			 (json_int_t)config->feedback_interval, "offload", config->offload, "ip_forward",
			 config->ip_forward == IP_FORWARD_SET ? "set" : "keep", "rule_preference",
			 (int)config->rule_preference, "socket", config->socket, "socket_group", config->socket_group,
			 "user", config->user, "run_directory", config->run_directory, "state_directory",
			 config->state_directory);
}

static void print_text(struct client *client)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	config_print(out, client_config(client));
	if (fclose(out) == 0)
		reply(client, "%s", text);
	free(text);
}

void control_show_config(struct client *client, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (client->json)
		reply_json(client, json_pack("{so}", "config", config_object(client_config(client))));
	else
		print_text(client);
	reply_ok(client);
}
