/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control.c - the control socket: listener and clients
 *
 * See control_private.h for how clients are kept from costing memory or time.
 */
#include <errno.h>
#include <event2/listener.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "nfq-balancer/control_private.h"
#include "nfq-balancer/log.h"

#define BACKLOG 1024
#define WANT_DESCRIPTORS 8192
#define OTHER_DESCRIPTORS 128u /* kept for queues, rtnetlink, configuration files */
#define RESUME_SECONDS 1

/* ---- clients ---- */

static void accept_again(struct control *control)
{
	if (control->n_clients < control->max_clients)
		evconnlistener_enable(control->listener);
}

static void client_free(struct client *client)
{
	struct control *control = client->control;

	flows_stop(client);
	watch_stop(client, false);
	LIST_REMOVE(client, entry);
	control->n_clients--;
	bufferevent_free(client->bev);
	free(client);
	if (control->listener)
		accept_again(control);
}

static size_t output_length(const struct client *client)
{
	return evbuffer_get_length(bufferevent_get_output(client->bev));
}

bool client_may_write(const struct client *client)
{
	return output_length(client) < CONTROL_OUTPUT_PAUSE;
}

/* The next line of input, or NULL. At the end of input the rest counts as a line. */
static char *next_line(struct client *client, size_t *len)
{
	struct evbuffer *input = bufferevent_get_input(client->bev);
	char *line = evbuffer_readln(input, len, EVBUFFER_EOL_CRLF);
	size_t rest = evbuffer_get_length(input);

	if (line || !client->ended || rest == 0 || rest > CONTROL_LINE_MAX + 1)
		return line;
	line = calloc(1, rest + 1);
	if (line) {
		evbuffer_remove(input, line, rest);
		*len = rest;
	}
	return line;
}

static void line_too_long(struct client *client)
{
	reply_error(client, "line too long: expected at most %d bytes and a newline", CONTROL_LINE_MAX);
	client->closing = true;
	bufferevent_disable(client->bev, EV_READ);
}

/* Take lines until the client has to read, wait or go */
static void take_lines(struct client *client)
{
	while (!client->closing && !client->flows && client_may_write(client)) {
		size_t len;
		char *line = next_line(client, &len);

		if (!line)
			break;
		/* any line ends a watch, an empty one does nothing else */
		watch_stop(client, true);
		if (len > CONTROL_LINE_MAX)
			line_too_long(client);
		else
			control_command(client, line, len);
		free(line);
	}
	if (!client->closing && evbuffer_get_length(bufferevent_get_input(client->bev)) > CONTROL_LINE_MAX + 1 &&
	    !client->flows && client_may_write(client)) {
		watch_stop(client, true);
		line_too_long(client);
	}
}

void client_work(struct client *client)
{
	if (client->flows && client_may_write(client))
		flows_resume(client);
	take_lines(client);
	/* all was said and done: an unread input is only possible while there is no room for a reply */
	if (client->ended && !client->flows && !client->watch && client_may_write(client))
		client->closing = true;
	if (client->closing && output_length(client) == 0)
		client_free(client);
}

static void client_readable(struct bufferevent *bev, void *data)
{
	(void)bev;
	client_work(data);
}

static void client_drained(struct bufferevent *bev, void *data)
{
	(void)bev;
	client_work(data);
}

static void client_event(struct bufferevent *bev, short what, void *data)
{
	struct client *client = data;

	if (what & BEV_EVENT_EOF) {
		client->ended = true;
		client_work(client);
		return;
	}
	/* libevent stops the direction that timed out */
	if ((what & BEV_EVENT_TIMEOUT) && client->watch) {
		bufferevent_enable(bev, what & (BEV_EVENT_READING) ? EV_READ : EV_WRITE);
		return;
	}
	/* it says nothing because it is still reading; if it does not read, the other timeout follows */
	if ((what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_READING) && (client->flows || output_length(client))) {
		bufferevent_enable(bev, EV_READ);
		return;
	}
	client_free(client);
}

static struct client *client_new(struct control *control, evutil_socket_t fd)
{
	const struct timeval idle = { .tv_sec = CONTROL_IDLE_SECONDS };
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->bev = bufferevent_socket_new(control->daemon->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev) {
		free(client);
		return NULL;
	}
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	client->uid = peer.uid;
	client->control = control;
	LIST_INSERT_HEAD(&control->clients, client, entry);
	control->n_clients++;
	bufferevent_setcb(client->bev, client_readable, client_drained, client_event, client);
	/* input: a longest line with its end, and one byte that proves it too long */
	bufferevent_setwatermark(client->bev, EV_READ, 0, CONTROL_LINE_MAX + 3);
	bufferevent_setwatermark(client->bev, EV_WRITE, CONTROL_OUTPUT_PAUSE / 2, 0);
	bufferevent_set_timeouts(client->bev, &idle, &idle);
	bufferevent_enable(client->bev, EV_READ | EV_WRITE);
	return client;
}

/* ---- listener ---- */

static void accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr, int len, void *data)
{
	struct control *control = data;

	(void)addr;
	(void)len;
	if (!client_new(control, fd))
		close(fd);
	if (control->n_clients >= control->max_clients)
		evconnlistener_disable(listener);
}

static void resume_accept(evutil_socket_t fd, short what, void *data)
{
	(void)fd;
	(void)what;
	accept_again(data);
}

/* Out of descriptors or memory: try again in a moment instead of spinning */
static void accept_failed(struct evconnlistener *listener, void *data)
{
	const struct timeval moment = { .tv_sec = RESUME_SECONDS };
	struct control *control = data;

	log_warning("control: accept: %s, trying again in %d s", strerror(errno), RESUME_SECONDS);
	evconnlistener_disable(listener);
	event_add(control->resume, &moment);
}

/* ---- opening the socket ---- */

static bool fail(char *error, size_t size, const char *path, const char *what)
{
	snprintf(error, size, "control socket %s: %s", path, what);
	return false;
}

static bool fail_errno(char *error, size_t size, const char *path, const char *what)
{
	snprintf(error, size, "control socket %s: %s: %s", path, what, strerror(errno));
	return false;
}

/* Remove a socket that nobody answers on. False: somebody does, or it is no socket. */
static bool clear_stale(const struct sockaddr_un *address, char *error, size_t size)
{
	const char *path = address->sun_path;
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	struct stat st;
	bool answers;
	int fd;

	if (lstat(path, &st) < 0)
		return errno == ENOENT || fail_errno(error, size, path, "cannot look at it");
	if (!S_ISSOCK(st.st_mode))
		return fail(error, size, path, "exists and is no socket; move it away or name another path");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail_errno(error, size, path, "socket");
	/* EAGAIN: its backlog is full, so it is there */
	answers = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN;
	if (answers) {
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
		if (peer.pid > 0)
			snprintf(error, size, "control socket %s: another nfq-balancer (pid %d) answers on it", path,
				 (int)peer.pid);
		else
			fail(error, size, path, "another nfq-balancer answers on it");
	}
	close(fd);
	if (answers)
		return false;
	return unlink(path) == 0 || fail_errno(error, size, path, "cannot remove the stale socket");
}

/* Root owns the socket; besides root, the group named in the configuration may connect */
static bool give_to_group(const struct config *config, char *error, size_t size)
{
	const struct group *group;

	if (!config->socket_group)
		return true;
	group = getgrnam(config->socket_group);
	if (!group) {
		snprintf(error, size, "socket-group \"%s\": no such group; create it or leave the key out",
			 config->socket_group);
		return false;
	}
	return chown(config->socket, (uid_t)-1, group->gr_gid) == 0 ||
	       fail_errno(error, size, config->socket, "cannot give it to its group");
}

static int open_socket(const struct config *config, char *error, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, bound;

	if (strlen(config->socket) >= sizeof(address.sun_path)) {
		fail(error, size, config->socket, "path too long for a socket (107 characters)");
		return -1;
	}
	memcpy(address.sun_path, config->socket, strlen(config->socket) + 1);
	if (!clear_stale(&address, error, size))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		fail_errno(error, size, config->socket, "socket");
		return -1;
	}
	mask = umask(S_IXUSR | S_IXGRP | S_IRWXO); /* 0660 from the first moment */
	bound = bind(fd, (const struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (bound < 0)
		fail_errno(error, size, config->socket, "bind");
	else if (!give_to_group(config, error, size))
		unlink(config->socket);
	else if (listen(fd, BACKLOG) == 0)
		return fd;
	else
		fail_errno(error, size, config->socket, "listen");
	close(fd);
	return -1;
}

/* Room for four thousand clients, and what must be left for everything else */
static unsigned client_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 64;
	if (limit.rlim_cur < WANT_DESCRIPTORS) {
		limit.rlim_cur = limit.rlim_max < WANT_DESCRIPTORS ? limit.rlim_max : WANT_DESCRIPTORS;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	/* each may run a dump, which is a second descriptor */
	if (limit.rlim_cur < 2 * (rlim_t)OTHER_DESCRIPTORS)
		return 16;
	return (unsigned)((limit.rlim_cur < WANT_DESCRIPTORS ? limit.rlim_cur : WANT_DESCRIPTORS) - OTHER_DESCRIPTORS) /
	       2;
}

struct control *control_open(struct daemon *daemon, char *error, size_t size)
{
	const struct config *config = policy_config(daemon->policy);
	int fd = open_socket(config, error, size);
	struct control *control;

	if (fd < 0)
		return NULL;
	/* a client that went away is an error of its socket, not the end of the daemon */
	signal(SIGPIPE, SIG_IGN);
	control = calloc(1, sizeof(*control));
	if (control) {
		control->daemon = daemon;
		control->max_clients = client_limit();
		LIST_INIT(&control->clients);
		control->path = strdup(config->socket);
		control->resume = evtimer_new(daemon->base, resume_accept, control);
		control->listener = evconnlistener_new(daemon->base, accepted, control,
						       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	}
	if (control && control->path && control->resume && control->listener) {
		evconnlistener_set_error_cb(control->listener, accept_failed);
		return control;
	}
	fail(error, size, config->socket, "out of memory");
	if (!control || !control->listener)
		close(fd);
	control_close(control);
	return NULL;
}

void control_close(struct control *control)
{
	struct client *client, *next;

	if (!control)
		return;
	if (control->listener)
		evconnlistener_free(control->listener);
	control->listener = NULL;
	watch_announce_stop(control);
	for (client = LIST_FIRST(&control->clients); client; client = next) {
		struct evbuffer *output = bufferevent_get_output(client->bev);

		/* what fits into the socket now; nobody is waited for. A bufferevent keeps its front to itself. */
		evbuffer_unfreeze(output, 1);
		evbuffer_write(output, bufferevent_getfd(client->bev));
		next = LIST_NEXT(client, entry);
		client_free(client);
	}
	if (control->resume)
		event_free(control->resume);
	/* in root's directory that fails by now: the socket stays, refuses, and the next start replaces it */
	if (control->path)
		unlink(control->path);
	free(control->path);
	free(control);
}
