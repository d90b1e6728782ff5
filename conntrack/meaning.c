/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/meaning.c - what an entry of conntrack says of its flow
 *
 * The kernel sets an entry's timeout anew with each packet. So the time left tells how
 * long ago the last packet was, and an entry that ended by itself sent its last packet
 * one timeout before. Timeouts of a policy of their own (nft `ct timeout`) are not known
 * here: longer ones look busy, shorter ones quiet, until packets are compared.
 */
#include "conntrack/meaning.h"

#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define DIRECTORY "/proc/sys/net/netfilter/nf_conntrack_"
#define QUIET_S 5
#define CROWDED_PERCENT 95 /* of the table; and until it has fallen below */
#define UNCROWDED_PERCENT 85
/* Data without an acknowledgement shorten the timeout of an established connection to this */
#define UNACKNOWLEDGED_S 300
#define OFFLOADED (1u << 14) /* IPS_OFFLOAD: in the flowtable, the timeout stands still; not in every header */

static uint32_t read_setting(const char *path, uint32_t unknown)
{
	FILE *file = fopen(path, "re");
	char text[32], *end = text;
	unsigned long value = 0;

	if (!file)
		return unknown;
	if (fgets(text, sizeof(text), file))
		value = strtoul(text, &end, 10);
	fclose(file);
	return end == text || value > UINT32_MAX ? unknown : (uint32_t)value;
}

void conntrack_settings_read(struct conntrack_settings *out)
{
	out->events = read_setting(DIRECTORY "events", 1) != 0;
	out->established = read_setting(DIRECTORY "tcp_timeout_established", 0);
	out->udp = read_setting(DIRECTORY "udp_timeout", 0);
	out->udp_stream = read_setting(DIRECTORY "udp_timeout_stream", 0);
	out->icmp = read_setting(DIRECTORY "icmp_timeout", 0);
	out->generic = read_setting(DIRECTORY "generic_timeout", 0);
	out->entries = read_setting(DIRECTORY "count", 0);
	out->room = read_setting(DIRECTORY "max", 0);
}

bool conntrack_crowded(const struct conntrack_settings *settings, bool before)
{
	const unsigned percent = before ? UNCROWDED_PERCENT : CROWDED_PERCENT;

	return settings->room && settings->entries * UINT64_C(100) >= (uint64_t)settings->room * percent;
}

enum track_phase conntrack_phase(const struct conntrack_entry *entry)
{
	if (entry->flow.protocol != IPPROTO_TCP)
		return TRACK_STATELESS;
	switch (entry->tcp_state) {
	case TCP_CONNTRACK_SYN_SENT:
	case TCP_CONNTRACK_SYN_SENT2:
		return TRACK_OPENING;
	case TCP_CONNTRACK_SYN_RECV:
		return TRACK_ANSWERED;
	case TCP_CONNTRACK_FIN_WAIT:
	case TCP_CONNTRACK_CLOSE_WAIT:
	case TCP_CONNTRACK_LAST_ACK:
	case TCP_CONNTRACK_TIME_WAIT:
	case TCP_CONNTRACK_CLOSE:
		return TRACK_CLOSING;
	default:
		return TRACK_OPEN;
	}
}

bool conntrack_replied(const struct conntrack_entry *entry)
{
	return entry->status & IPS_SEEN_REPLY;
}

static uint32_t full_timeout(const struct conntrack_entry *entry, const struct conntrack_settings *settings)
{
	switch (entry->flow.protocol) {
	case IPPROTO_TCP:
		return settings->established;
	case IPPROTO_UDP:
		return entry->status & IPS_ASSURED ? settings->udp_stream : settings->udp;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return settings->icmp;
	default:
		return settings->generic;
	}
}

bool conntrack_quiet(const struct conntrack_entry *entry, const struct conntrack_settings *settings)
{
	const uint32_t full = full_timeout(entry, settings);

	if (entry->status & OFFLOADED)
		return false;
	if (entry->flow.protocol == IPPROTO_TCP &&
	    (entry->tcp_state != TCP_CONNTRACK_ESTABLISHED || entry->timeout <= UNACKNOWLEDGED_S))
		return false;
	return full > entry->timeout && full - entry->timeout >= QUIET_S;
}

struct track_end conntrack_end(const struct conntrack_entry *entry, const struct conntrack_settings *settings)
{
	const uint64_t silence = UINT64_C(1000000000) * full_timeout(entry, settings);
	struct track_end end = {
		.packets = { (uint32_t)entry->packets[0], (uint32_t)entry->packets[1] },
		.active_ms = UINT32_MAX,
	};

	/* shorter: it did not end by itself, or its timeout is another */
	if (entry->started && silence && entry->stopped >= entry->started + silence)
		end.active_ms = (uint32_t)((entry->stopped - entry->started - silence) / 1000000);
	return end;
}
