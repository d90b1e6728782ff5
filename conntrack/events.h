/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/events.h - the kernel's connections, as they change
 *
 * A subscription to NEW, UPDATE and DESTROY, filtered in the kernel (a socket
 * filter) to entries whose mark is ours, without what says nothing new: that a TCP
 * connection is established (its SYN was answered before) or in TIME_WAIT (its FIN was
 * seen). Needs CAP_NET_ADMIN. One thread.
 */
#ifndef CONNTRACK_EVENTS_H
#define CONNTRACK_EVENTS_H

#include "conntrack/table.h"

enum conntrack_event {
	CONNTRACK_NEW,
	CONNTRACK_UPDATE,
	CONNTRACK_DESTROY,
};

typedef void conntrack_each_event(enum conntrack_event event, const struct conntrack_entry *entry, void *data);

#define CONNTRACK_EVENTS_BATCH 32

struct conntrack_events;

/* Events of entries with (mark & mask) == value, into a receive buffer of `buffer` bytes.
 * NULL with errno. */
struct conntrack_events *conntrack_events_open(uint32_t value, uint32_t mask, int buffer);
void conntrack_events_close(struct conntrack_events *events);
int conntrack_events_fd(const struct conntrack_events *events); /* non-blocking */

/* Fetch waiting events: how many messages there were, fewer than CONNTRACK_EVENTS_BATCH when no more wait. -1: errno;
 * ENOBUFS: events were lost, look at the whole table. */
int conntrack_events_receive(struct conntrack_events *events);
/* What was fetched, in its order: CONNTRACK_EVENTS_BATCH at most. Of the replies' addresses and ports nothing is said */
void conntrack_events_each(struct conntrack_events *events, conntrack_each_event *each, void *data);

#endif
