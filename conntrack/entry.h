/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/entry.h - between the readers of conntrack: one decoder for dumps and events
 */
#ifndef CONNTRACK_ENTRY_H
#define CONNTRACK_ENTRY_H

#include "conntrack/table.h"

struct nlmsghdr;

/* False: the message names no connection */
bool conntrack_decode(const struct nlmsghdr *message, struct conntrack_entry *out);
/* Without the replies' addresses and ports: a fifth less work */
bool conntrack_decode_event(const struct nlmsghdr *message, struct conntrack_entry *out);

#endif
