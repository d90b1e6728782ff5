/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_set.c - commands that change something
 *
 * Each calls what the command line and the signals call too. All of it counts from
 * the next flow; flows that exist keep their link.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/log.h"

static void changed(struct client *client, const char *kind, const char *name, const char *what, json_t *was,
		    json_t *now)
{
	char *from = json_dumps(was, JSON_ENCODE_ANY), *to = json_dumps(now, JSON_ENCODE_ANY);

	log_info("control: uid %u: %s %s: %s %s -> %s", client->uid, kind, name, what, from ? from : "?",
		 to ? to : "?");
	free(from);
	free(to);
	if (client->json) {
		reply_json(client, json_pack("{ss so so}", kind, name, "was", was, what, now));
	} else if (json_is_string(now)) {
		reply(client, "%s %s: %s %s -> %s\n", kind, name, what, json_string_value(was), json_string_value(now));
		json_decref(was);
		json_decref(now);
	} else {
		reply(client, "%s %s: %s %" JSON_INTEGER_FORMAT " -> %" JSON_INTEGER_FORMAT "\n", kind, name, what,
		      json_integer_value(was), json_integer_value(now));
		json_decref(was);
		json_decref(now);
	}
	reply_ok(client);
}

void control_set_weight(struct client *client, int argc, char **argv)
{
	struct daemon *daemon = client->control->daemon;
	int link = argument_link(client, argv[0]);
	uint64_t weight;
	uint32_t before;

	(void)argc;
	if (link < 0 || !argument_number(client, "weight", argv[1], 1, CONFIG_MAX_WEIGHT, &weight))
		return;
	before = link_runtime_weight(&daemon->runtime, (unsigned)link);
	links_set_weight(&daemon->links, (unsigned)link, (uint32_t)weight);
	changed(client, "link", client_config(client)->links[link].name, "weight", json_integer(before),
		json_integer((json_int_t)weight));
}

void control_set_link(struct client *client, int argc, char **argv)
{
	struct daemon *daemon = client->control->daemon;
	int link = argument_link(client, argv[0]), admin;
	enum link_admin before;

	(void)argc;
	if (link < 0)
		return;
	admin = link_admin_parse(argv[1]);
	if (admin < 0) {
		reply_error(client, "state %s: expected up, down, drain or auto", reply_quote(argv[1]));
		return;
	}
	before = daemon->links.status[link].admin;
	links_set_admin(&daemon->links, (unsigned)link, (enum link_admin)admin);
	changed(client, "link", client_config(client)->links[link].name, "admin", json_string(link_admin_name(before)),
		json_string(link_admin_name((enum link_admin)admin)));
}

void control_set_scheduler(struct client *client, int argc, char **argv)
{
	struct daemon *daemon = client->control->daemon;
	int group = argument_group(client, argv[0]), scheduler;
	const struct group_config *config;
	enum scheduler before;

	(void)argc;
	if (group < 0)
		return;
	scheduler = scheduler_parse(argv[1]);
	if (scheduler < 0) {
		reply(client, "error scheduler %s: expected one of", reply_quote(argv[1]));
		for (int i = 0; i < SCHEDULERS; i++)
			reply(client, "%s %s", i ? "," : "", scheduler_name((enum scheduler)i));
		reply(client, "\n");
		return;
	}
	config = &client_config(client)->groups[group];
	before = link_runtime_scheduler(&daemon->runtime, config->slot);
	link_runtime_set_scheduler(&daemon->runtime, config->slot, (enum scheduler)scheduler);
	changed(client, "group", config->name, "scheduler", json_string(scheduler_name(before)),
		json_string(scheduler_name((enum scheduler)scheduler)));
}

/* A broken configuration: each message on a line of its own, the running policy stays */
static void reload_failed(struct client *client, const struct config_messages *errors)
{
	json_t *list = json_array();

	for (size_t i = 0; i < errors->n; i++) {
		if (client->json)
			json_array_append_new(list, json_string(errors->text[i]));
		else
			reply(client, "%s\n", errors->text[i]);
	}
	if (client->json)
		reply_json(client, json_pack("{sO}", "errors", list));
	json_decref(list);
	reply_error(client, "reload: %zu mistake%s in the configuration, the running policy stays", errors->n,
		    errors->n == 1 ? "" : "s");
}

void control_reload(struct client *client, int argc, char **argv)
{
	struct daemon *daemon = client->control->daemon;
	struct config_messages errors = { 0 };

	(void)argc;
	(void)argv;
	log_info("control: uid %u: reload", client->uid);
	if (daemon_reload(daemon, &errors)) {
		const struct config *config = client_config(client);

		if (client->json)
			reply_json(client, json_pack("{sI sI sI sb}", "links", (json_int_t)config->n_links, "groups",
						     (json_int_t)config->n_groups, "rules", (json_int_t)config->n_rules,
						     "differs_from_file", overrides_differ(daemon)));
		else
			reply(client, "links %zu, groups %zu, rules %zu%s\n", config->n_links, config->n_groups,
			      config->n_rules,
			      overrides_differ(daemon) ? "; values set at runtime stay and differ from the file" : "");
		reply_ok(client);
	} else {
		reload_failed(client, &errors);
	}
	config_messages_free(&errors);
}

void control_save(struct client *client, int argc, char **argv)
{
	char error[256];

	(void)argc;
	(void)argv;
	log_info("control: uid %u: save", client->uid);
	if (!overrides_save(client->control->daemon, error, sizeof(error))) {
		reply_error(client, "save: %s", error);
		return;
	}
	if (client->json)
		reply_json(client, json_pack("{ss+}", "file", client_config(client)->state_directory, "/runtime.conf"));
	else
		reply(client, "%s/runtime.conf written\n", client_config(client)->state_directory);
	reply_ok(client);
}
