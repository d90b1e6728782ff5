/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/events.c - conntrack's multicast groups
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack/entry.h"
#include "conntrack/events.h"

#define MESSAGE_ROOM 4096 /* an event takes about 300 bytes */

struct conntrack_events {
	struct mnl_socket *socket;
	_Alignas(struct nlmsghdr) char message[MESSAGE_ROOM];
};

static bool attach_filter(int fd, uint32_t value, uint32_t mask)
{
	struct nfct_filter *filter = nfct_filter_create();
	const struct nfct_filter_dump_mark mark = { .val = value, .mask = mask };

	if (!filter)
		return false;
	nfct_filter_add_attr(filter, NFCT_FILTER_MARK, &mark);
	int failed = nfct_filter_attach(fd, filter);

	nfct_filter_destroy(filter);
	return failed == 0;
}

struct conntrack_events *conntrack_events_open(uint32_t value, uint32_t mask, int buffer)
{
	const unsigned groups = NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_UPDATE | NF_NETLINK_CONNTRACK_DESTROY;
	struct conntrack_events *events = calloc(1, sizeof(*events));

	if (!events)
		return NULL;
	events->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!events->socket ||
	    setsockopt(conntrack_events_fd(events), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
	    !attach_filter(conntrack_events_fd(events), value, mask) ||
	    mnl_socket_bind(events->socket, groups, MNL_SOCKET_AUTOPID) < 0) {
		conntrack_events_close(events);
		return NULL;
	}
	return events;
}

void conntrack_events_close(struct conntrack_events *events)
{
	int saved = errno;

	if (events && events->socket)
		mnl_socket_close(events->socket);
	free(events);
	errno = saved;
}

int conntrack_events_fd(const struct conntrack_events *events)
{
	return mnl_socket_get_fd(events->socket);
}

static bool event_kind(const struct nlmsghdr *message, enum conntrack_event *out)
{
	switch (message->nlmsg_type) {
	case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW:
		/* one type for both: what creates an entry says so in its flags */
		*out = message->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL) ? CONNTRACK_NEW : CONNTRACK_UPDATE;
		return true;
	case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE:
		*out = CONNTRACK_DESTROY;
		return true;
	default:
		return false;
	}
}

static void read_event(const struct nlmsghdr *message, conntrack_each_event *each, void *data)
{
	struct conntrack_entry entry;
	enum conntrack_event kind;

	if (event_kind(message, &kind) && conntrack_decode(message, &entry))
		each(kind, &entry, data);
}

int conntrack_events_read(struct conntrack_events *events, unsigned limit, conntrack_each_event *each, void *data)
{
	unsigned n = 0;

	while (n < limit) {
		ssize_t got = recv(conntrack_events_fd(events), events->message, sizeof(events->message), 0);
		const struct nlmsghdr *message = (const void *)events->message;
		int rest = (int)got;

		if (got < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? (int)n : -1;
		for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest), n++)
			read_event(message, each, data);
	}
	return (int)n;
}
