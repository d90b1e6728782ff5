/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_watch.c - `watch`: decisions and events as they happen
 *
 * Nothing tells the watchers: while there are any, a timer compares what it saw
 * last with what is there now. So the workers and everything that changes a value
 * know nothing of watchers, and without one no cost is left.
 *
 * A watcher that reads slower than things happen is not waited for: lines are left
 * out, and the next one that fits is preceded by how many.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/human.h"

#define POLL_MICROSECONDS 100000

struct watch {
	bool decisions, events;
	int link; /* index, or -1 */
	bool has_client;
	struct flow_addr client;
	char rule[CONFIG_NAME_MAX + 1]; /* by name: a reload changes indices */
	uint64_t left_out;
};

/* One for all watchers: what was there at the last look */
struct watcher {
	struct control *control;
	struct event *timer;
	unsigned n_watches;
	uint64_t next[CONFIG_MAX_QUEUES]; /* number of each worker's next record */
	uint64_t missed; /* records overwritten before they were looked at */
	enum link_state state[CONFIG_MAX_LINKS];
	enum link_admin admin[CONFIG_MAX_LINKS];
	uint32_t weight[CONFIG_MAX_LINKS];
	uint8_t scheduler[CONFIG_MAX_GROUPS]; /* by slot */
	unsigned reloads, reloads_failed;
};

/* ---- lines for one watcher ---- */

/* Room for a line? If lines were left out before, say so first. */
static bool room(struct client *client)
{
	struct watch *watch = client->watch;

	if (!client_may_write(client)) {
		watch->left_out++;
		return false;
	}
	if (watch->left_out > 0) {
		if (client->json)
			reply_json(client,
				   json_pack("{ss sI}", "type", "left_out", "lines", (json_int_t)watch->left_out));
		else
			reply(client, "... %" PRIu64 " lines left out: read faster, or filter\n", watch->left_out);
		watch->left_out = 0;
	}
	return true;
}

static void tell_event(struct client *client, int link, const char *subject, const char *name, const char *what)
{
	char stamp[16];
	time_t now = time(NULL);
	struct tm tm;

	if (!client->watch->events || (client->watch->link >= 0 && client->watch->link != link) || !room(client))
		return;
	if (client->json) {
		reply_json(client, json_pack("{ss sI ss ss ss}", "type", "event", "time_ms", (json_int_t)now * 1000,
					     "subject", subject, "name", name, "what", what));
		return;
	}
	localtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
	reply(client, "%s      %s%s%s: %s\n", stamp, subject, *name ? " " : "", name, what);
}

static void tell_decision(struct client *client, const struct decision_record *record)
{
	const struct watch *watch = client->watch;
	struct decision_text d;

	if (!watch->decisions || (watch->link >= 0 && record->decision.link != watch->link))
		return;
	if (watch->has_client && memcmp(&record->flow.src, &watch->client, sizeof(watch->client)) != 0)
		return;
	decision_text(client, record, &d);
	if ((watch->rule[0] && strcmp(watch->rule, d.rule) != 0) || !room(client))
		return;
	if (client->json)
		reply_json(client, decision_json(client, record));
	else
		reply(client, "%s  %-4s %s -> %s  %s  %s  rule %s  group %s\n", d.time, d.protocol, d.flow_client,
		      d.server, d.link, d.reason, d.rule, d.group);
}

static void tell_missed(struct client *client, uint64_t missed)
{
	if (!client->watch->decisions || !room(client))
		return;
	if (client->json)
		reply_json(client, json_pack("{ss sI}", "type", "missed", "decisions", (json_int_t)missed));
	else
		reply(client, "... %" PRIu64 " decisions came faster than they could be looked at\n", missed);
}

/* ---- looking for changes ---- */

static void event_to_all(struct control *control, int link, const char *subject, const char *name, const char *what)
{
	struct client *client;

	LIST_FOREACH(client, &control->clients, entry)
	{
		if (client->watch)
			tell_event(client, link, subject, name, what);
	}
}

static void look_at_link(struct watcher *watcher, int i)
{
	const struct daemon *daemon = watcher->control->daemon;
	const char *name = policy_config(daemon->policy)->links[i].name;
	const struct link_status *status = &daemon->links.status[i];
	uint32_t weight = link_runtime_weight(&daemon->runtime, (unsigned)i);
	char what[128];

	if (status->state != watcher->state[i]) {
		snprintf(what, sizeof(what), "%s%s%s", link_state_name(status->state), status->why[0] ? ", " : "",
			 status->why);
		event_to_all(watcher->control, i, "link", name, what);
	}
	if (status->admin != watcher->admin[i]) {
		snprintf(what, sizeof(what), "set %s by administrator", link_admin_name(status->admin));
		event_to_all(watcher->control, i, "link", name, what);
	}
	if (weight != watcher->weight[i]) {
		snprintf(what, sizeof(what), "weight %u -> %u", watcher->weight[i], weight);
		event_to_all(watcher->control, i, "link", name, what);
	}
	watcher->state[i] = status->state;
	watcher->admin[i] = status->admin;
	watcher->weight[i] = weight;
}

static void look_at_groups(struct watcher *watcher, bool tell)
{
	const struct daemon *daemon = watcher->control->daemon;
	const struct config *config = policy_config(daemon->policy);
	char what[64];

	for (size_t i = 0; i < config->n_groups; i++) {
		unsigned slot = config->groups[i].slot;
		enum scheduler now = link_runtime_scheduler(&daemon->runtime, slot);

		if (tell && now != watcher->scheduler[slot]) {
			snprintf(what, sizeof(what), "scheduler %s -> %s",
				 scheduler_name((enum scheduler)watcher->scheduler[slot]), scheduler_name(now));
			event_to_all(watcher->control, -1, "group", config->groups[i].name, what);
		}
		watcher->scheduler[slot] = (uint8_t)now;
	}
}

static void look_at_daemon(struct watcher *watcher)
{
	const struct daemon *daemon = watcher->control->daemon;
	bool reloaded = daemon->reloads != watcher->reloads;

	if (reloaded)
		event_to_all(watcher->control, -1, "policy", "", "reloaded");
	if (daemon->reloads_failed != watcher->reloads_failed)
		event_to_all(watcher->control, -1, "policy", "", "reload failed, the running one stays");
	watcher->reloads = daemon->reloads;
	watcher->reloads_failed = daemon->reloads_failed;
	/* new groups take over slots: nothing to tell */
	look_at_groups(watcher, !reloaded);
}

static void look_at_worker(struct watcher *watcher, unsigned i)
{
	const struct worker *worker = watcher->control->daemon->workers[i];
	uint64_t newest = worker_newest(worker);
	struct decision_record record;
	struct client *client;

	if (newest - watcher->next[i] + 1 > WORKER_RING) {
		watcher->missed += newest - WORKER_RING + 1 - watcher->next[i];
		watcher->next[i] = newest - WORKER_RING + 1;
	}
	for (; watcher->next[i] <= newest; watcher->next[i]++) {
		if (!worker_record(worker, watcher->next[i], &record)) {
			watcher->missed++;
			continue;
		}
		LIST_FOREACH(client, &watcher->control->clients, entry)
		{
			if (client->watch)
				tell_decision(client, &record);
		}
	}
}

/* A peer that had stopped sending before cannot be noticed by reading */
static bool gone(const struct client *client)
{
	struct pollfd peer = { .fd = bufferevent_getfd(client->bev) };

	return client->ended && poll(&peer, 1, 0) > 0 && (peer.revents & (POLLHUP | POLLERR));
}

static void look_at_clients(struct control *control)
{
	struct client *client = LIST_FIRST(&control->clients);

	while (client) {
		struct client *next = LIST_NEXT(client, entry);

		if (client->watch && gone(client)) {
			watch_stop(client, false);
			evbuffer_drain(bufferevent_get_output(client->bev),
				       evbuffer_get_length(bufferevent_get_output(client->bev)));
			client_work(client);
		}
		client = next;
	}
}

static void look(evutil_socket_t fd, short what, void *data)
{
	struct watcher *watcher = data;
	struct control *control = watcher->control;
	size_t n_links = policy_config(control->daemon->policy)->n_links;
	struct client *client;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < control->daemon->n_workers; i++)
		look_at_worker(watcher, i);
	for (size_t i = 0; i < n_links; i++)
		look_at_link(watcher, (int)i);
	look_at_daemon(watcher);
	LIST_FOREACH(client, &control->clients, entry)
	{
		if (client->watch && watcher->missed)
			tell_missed(client, watcher->missed);
	}
	watcher->missed = 0;
	/* last: the watcher may end with its last client */
	look_at_clients(control);
}

/* ---- start and stop ---- */

static bool watcher_start(struct control *control)
{
	const struct timeval interval = { .tv_usec = POLL_MICROSECONDS };
	const struct daemon *daemon = control->daemon;
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	if (!watcher)
		return false;
	watcher->control = control;
	watcher->timer = event_new(daemon->base, -1, EV_PERSIST, look, watcher);
	if (!watcher->timer || event_add(watcher->timer, &interval) < 0) {
		if (watcher->timer)
			event_free(watcher->timer);
		free(watcher);
		return false;
	}
	for (unsigned i = 0; i < daemon->n_workers; i++)
		watcher->next[i] = worker_newest(daemon->workers[i]) + 1;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		watcher->state[i] = daemon->links.status[i].state;
		watcher->admin[i] = daemon->links.status[i].admin;
		watcher->weight[i] = link_runtime_weight(&daemon->runtime, i);
	}
	watcher->reloads = daemon->reloads;
	watcher->reloads_failed = daemon->reloads_failed;
	control->watcher = watcher;
	look_at_groups(watcher, false);
	return true;
}

void watch_stop(struct client *client, bool say_ok)
{
	struct watcher *watcher = client->control->watcher;

	if (!client->watch)
		return;
	free(client->watch);
	client->watch = NULL;
	if (say_ok)
		reply_ok(client);
	if (--watcher->n_watches > 0)
		return;
	client->control->watcher = NULL;
	event_free(watcher->timer);
	free(watcher);
}

void watch_announce_stop(struct control *control)
{
	event_to_all(control, -1, "daemon", "", "stopping");
}

static bool parse_filter(struct client *client, const char *key, const char *value, struct watch *watch)
{
	int family;

	if (strcmp(key, "link") == 0) {
		watch->link = argument_link(client, value);
		return watch->link >= 0;
	}
	if (strcmp(key, "client") == 0) {
		watch->has_client = true;
		return argument_address(client, "client", value, &watch->client, &family);
	}
	if (strcmp(key, "rule") == 0) {
		if (argument_rule(client, value) < 0)
			return false;
		snprintf(watch->rule, sizeof(watch->rule), "%s", value);
		return true;
	}
	reply_error(client, "filter %s: expected link, client or rule", reply_quote(key));
	return false;
}

static bool parse_watch(struct client *client, int argc, char **argv, struct watch *watch)
{
	*watch = (struct watch){ .decisions = true, .events = true, .link = -1 };
	if (argc > 0 && strcmp(argv[0], "decisions") == 0)
		watch->events = false;
	else if (argc > 0 && strcmp(argv[0], "events") == 0)
		watch->decisions = false;
	if (!watch->events || !watch->decisions) {
		argc--;
		argv++;
	}
	for (int i = 0; i < argc; i += 2) {
		if (i + 1 == argc) {
			reply_error(client, "watch %s: expected a value behind it", reply_quote(argv[i]));
			return false;
		}
		if (!parse_filter(client, argv[i], argv[i + 1], watch))
			return false;
	}
	return true;
}

void control_watch(struct client *client, int argc, char **argv)
{
	struct watch *watch = malloc(sizeof(*watch));

	if (!watch) {
		reply_error(client, "out of memory");
		return;
	}
	if (!parse_watch(client, argc, argv, watch)) {
		free(watch);
		return;
	}
	if (!client->control->watcher && !watcher_start(client->control)) {
		free(watch);
		reply_error(client, "out of memory");
		return;
	}
	client->watch = watch;
	client->control->watcher->n_watches++;
	/* so that a program knows from when on nothing is missed */
	if (client->json)
		reply_json(client, json_pack("{ss sb sb}", "type", "watching", "decisions", watch->decisions, "events",
					     watch->events));
	else
		reply(client, "watching%s%s\n", watch->decisions ? " decisions" : "", watch->events ? " events" : "");
}
