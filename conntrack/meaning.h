/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/meaning.h - what an entry of conntrack says in the terms of policy/track.h
 */
#ifndef CONNTRACK_MEANING_H
#define CONNTRACK_MEANING_H

#include "conntrack/table.h"
#include "policy/track.h"

/* What the kernel says of its connection tracking as a whole; seconds */
struct conntrack_settings {
	bool events; /* net.netfilter.nf_conntrack_events is not 0, or unknown */
	uint32_t established, udp, udp_stream, icmp, generic; /* timeouts, 0: unknown */
	uint32_t entries, room; /* in the table; how many fit, 0: unknown or without limit */
};

/* From /proc/sys/net/netfilter */
void conntrack_settings_read(struct conntrack_settings *out);

/* Is the kernel's table nearly full? What was said `before` stays while it hovers about that. */
bool conntrack_crowded(const struct conntrack_settings *settings, bool before);

enum track_phase conntrack_phase(const struct conntrack_entry *entry);
bool conntrack_replied(const struct conntrack_entry *entry);

/* No packet for seconds, as the time left of its timeout tells. An entry in a dump, not an event. */
bool conntrack_quiet(const struct conntrack_entry *entry, const struct conntrack_settings *settings);

/* Of an entry that was destroyed */
struct track_end conntrack_end(const struct conntrack_entry *entry, const struct conntrack_settings *settings);

#endif
