/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_private.h - what the files of the control socket share
 *
 * Theory of operation. Everything runs in the control thread, on its event_base. A
 * client's lines are taken one at a time, and only while its unread output is
 * below CONTROL_OUTPUT_PAUSE; so a client holds at most that, plus one reply,
 * whether it reads or not. Replies that can be long beyond bound (show flows) are
 * streams: they write a part, wait for the client to read, and write the next.
 * `watch` cannot wait: it leaves out lines and says how many.
 *
 * A command function writes its text with reply() or its JSON with reply_json(),
 * then ends with reply_ok() or reply_error(), exactly once; a stream does so later.
 */
#ifndef NFQB_CONTROL_PRIVATE_H
#define NFQB_CONTROL_PRIVATE_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <jansson.h>
#include <sys/queue.h>

#include "nfq-balancer/control_commands.h"
#include "nfq-balancer/daemon.h"

#define CONTROL_LINE_MAX 4096 /* bytes in one command line */
#define CONTROL_OUTPUT_PAUSE 65536 /* unread bytes at which nothing more is produced for a client */
#define CONTROL_IDLE_SECONDS 30

struct client {
	struct control *control;
	struct bufferevent *bev;
	LIST_ENTRY(client) entry;
	unsigned uid; /* of the peer, for the log */
	bool json; /* the running command wants JSON */
	bool ended; /* the peer will send no more */
	bool closing; /* freed once its output is out */
	struct flows *flows; /* the stream that runs, or NULL */
	struct watch *watch; /* what it watches, or NULL */
};

LIST_HEAD(client_list, client);

struct control {
	struct daemon *daemon;
	struct evconnlistener *listener;
	struct event *resume; /* accept again after running out of descriptors */
	struct client_list clients;
	unsigned n_clients, max_clients;
	struct watcher *watcher; /* polls for `watch`, NULL while nobody does */
	char *path;
};

/* control.c */
bool client_may_write(const struct client *client);
void client_work(struct client *client); /* go on after a stream or watch ended; may free the client */

/* control_command.c */
void control_command(struct client *client, char *line, size_t len);

/* control_reply.c */
void reply(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
void reply_json(struct client *client, json_t *value); /* one line; takes the reference; NULL: an error of ours */
void reply_ok(struct client *client);
void reply_error(struct client *client, const char *format, ...) __attribute__((format(printf, 2, 3)));
const char *reply_quote(const char *text); /* for error messages: printable and short; static storage */

/* Arguments; each replies with an error that says what was expected, and returns false or -1 */
int argument_link(struct client *client, const char *name);
int argument_group(struct client *client, const char *name);
int argument_rule(struct client *client, const char *name);
bool argument_number(struct client *client, const char *what, const char *text, uint64_t min, uint64_t max,
		     uint64_t *out);
bool argument_address(struct client *client, const char *what, const char *text, struct flow_addr *out, int *family);
bool argument_protocol(struct client *client, const char *text, uint8_t *out);

static inline const struct config *client_config(const struct client *client)
{
	return policy_config(client->control->daemon->policy);
}

/* The commands (control_*.c) */
#define CONTROL_DECLARE(name, arguments, least, most, function, help) \
	void function(struct client *client, int argc, char **argv);
CONTROL_COMMANDS(CONTROL_DECLARE)
#undef CONTROL_DECLARE

/* control_decisions.c: for all that show decisions */
json_t *decision_json(const struct client *client, const struct decision_record *record);
struct decision_text {
	char time[16], flow_client[FLOW_ADDR_STRLEN + 8], server[FLOW_ADDR_STRLEN + 8];
	char protocol[16];
	const char *link, *reason, *rule, *group;
};
void decision_text(const struct client *client, const struct decision_record *record, struct decision_text *out);

/* control_show.c: a link's share of the kernel's fallback, by family; null where not known */
void fallback_json(json_t *object, const struct daemon *daemon, unsigned link);

/* control_flows.c */
void flows_resume(struct client *client); /* there is room for output again */
void flows_stop(struct client *client); /* the client goes away */

/* control_watch.c */
void watch_stop(struct client *client, bool say_ok);
void watch_announce_stop(struct control *control); /* the daemon leaves */

/* control_route.c: what the kernel answers now */
struct route_answer {
	bool found;
	bool local; /* the address is the router's own */
	bool has_gateway, has_source;
	struct flow_addr gateway, source;
	char interface[CONFIG_IFNAME_MAX + 1];
	char why[48]; /* when not found: the kernel's error */
};
struct route_answer control_route(const struct flow_addr *destination, int family, uint32_t mark);

#endif
