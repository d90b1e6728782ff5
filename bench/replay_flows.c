/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_flows.c - the flows of a capture, as conntrack would know them
 *
 * The C library's balanced tree finds a flow, an array keeps the order in which
 * they came. The key is the tuple with its ends in a fixed order, so that both
 * directions meet; protocols without ports use what they have (the identifier
 * of an ICMP echo, or nothing) on both ends.
 */
#include "bench/replay_flows.h"

#include <assert.h>
#include <netinet/in.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct flow_key {
	struct flow_addr addr[2];
	uint16_t port[2];
	uint8_t protocol;
	uint8_t family;
};
static_assert(sizeof(struct flow_key) == 38, "compared as bytes: no padding");

struct tuple {
	struct flow_key key; /* first: the tree compares keys */
	struct seen_flow seen;
};

struct flow_table {
	void *root;
	struct seen_flow **order;
	size_t n, room;
	bool keep; /* flows never end */
	uint64_t timeout[FLOW_CLASSES]; /* ms */
};

static const struct {
	const char *name;
	unsigned seconds;
} classes[] = {
	[FLOW_TCP] = { "tcp", 432000 },
	[FLOW_TCP_NEW] = { "tcp-new", 120 },
	[FLOW_TCP_CLOSED] = { "tcp-closed", 120 },
	[FLOW_UDP] = { "udp", 30 },
	[FLOW_UDP_STREAM] = { "udp-stream", 120 },
	[FLOW_ICMP] = { "icmp", 30 },
	[FLOW_SCTP] = { "sctp", 210 },
	[FLOW_OTHER] = { "other", 600 },
};
static_assert(sizeof(classes) / sizeof(classes[0]) == FLOW_CLASSES, "one default for each class");

struct flow_table *flow_table_new(void)
{
	struct flow_table *table = calloc(1, sizeof(*table));

	for (unsigned i = 0; table && i < FLOW_CLASSES; i++)
		table->timeout[i] = classes[i].seconds * UINT64_C(1000);
	return table;
}

void flow_table_free(struct flow_table *table)
{
	if (!table)
		return;
	tdestroy(table->root, free);
	free(table->order);
	free(table);
}

bool flow_table_set_timeout(struct flow_table *table, const char *text)
{
	const char *equals = strchr(text, '=');
	char *end = NULL;
	unsigned long seconds;

	if (!equals || equals[1] < '0' || equals[1] > '9')
		return false;
	seconds = strtoul(equals + 1, &end, 10);
	if (*end || seconds == 0 || seconds > 10UL * 365 * 86400)
		return false;
	for (unsigned i = 0; i < FLOW_CLASSES; i++) {
		if (strlen(classes[i].name) == (size_t)(equals - text) &&
		    strncmp(classes[i].name, text, (size_t)(equals - text)) == 0) {
			table->timeout[i] = seconds * UINT64_C(1000);
			return true;
		}
	}
	return false;
}

void flow_table_keep(struct flow_table *table)
{
	table->keep = true;
}

static bool tcp_closed(const struct seen_flow *seen)
{
	return seen->reset || (seen->fin[0] && seen->fin[1]);
}

static enum flow_class flow_class(const struct seen_flow *seen)
{
	switch (seen->flow.protocol) {
	case IPPROTO_TCP:
		if (tcp_closed(seen))
			return FLOW_TCP_CLOSED;
		return seen->packets[1] ? FLOW_TCP : FLOW_TCP_NEW;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		return seen->packets[1] ? FLOW_UDP_STREAM : FLOW_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return FLOW_ICMP;
	case IPPROTO_SCTP:
		return FLOW_SCTP;
	default:
		return FLOW_OTHER;
	}
}

/* The key of a flow; returns true when its source is the key's second end */
static bool make_key(const struct flow *flow, struct flow_key *key)
{
	uint16_t sport = flow->sport, dport = flow->ports ? flow->dport : flow->sport;
	int order = memcmp(&flow->src, &flow->dst, sizeof(flow->src));
	bool swap = order > 0 || (order == 0 && sport > dport);

	key->addr[swap] = flow->src;
	key->addr[!swap] = flow->dst;
	key->port[swap] = sport;
	key->port[!swap] = dport;
	key->protocol = flow->protocol;
	key->family = flow->family;
	return swap;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct flow_key));
}

static struct tuple *add_tuple(struct flow_table *table, const struct flow_key *key)
{
	struct tuple *tuple = NULL;

	if (table->n == table->room) {
		size_t room = table->room ? table->room * 2 : 1024;
		struct seen_flow **order = reallocarray(table->order, room, sizeof(struct seen_flow *));

		if (!order)
			return NULL;
		table->order = order;
		table->room = room;
	}
	tuple = calloc(1, sizeof(*tuple));
	if (!tuple)
		return NULL;
	tuple->key = *key;
	if (!tsearch(tuple, &table->root, compare)) {
		free(tuple);
		return NULL;
	}
	table->order[table->n++] = &tuple->seen;
	return tuple;
}

/* Is this packet the first of a new flow that uses the tuple of an old one? */
static bool flow_ended(const struct flow_table *table, const struct seen_flow *seen, uint8_t tcp_flags, uint64_t now)
{
	if (table->keep)
		return false;
	if (tcp_closed(seen) && (tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN)
		return true;
	return now - seen->last > table->timeout[flow_class(seen)];
}

struct seen_flow *flow_table_see(struct flow_table *table, const struct flow *flow, uint8_t tcp_flags, uint64_t now,
				 bool *back)
{
	struct flow_key key, original;
	bool swap = make_key(flow, &key);
	struct tuple *const *found = tfind(&key, &table->root, compare);
	struct tuple *tuple = found ? *found : add_tuple(table, &key);
	struct seen_flow *seen = tuple ? &tuple->seen : NULL;

	if (!seen)
		return NULL;
	if (!found || flow_ended(table, seen, tcp_flags, now))
		*seen = (struct seen_flow){ .flow = *flow, .first = now, .link = -1 };
	*back = make_key(&seen->flow, &original) != swap;
	seen->last = now;
	seen->packets[*back]++;
	seen->fin[*back] |= (tcp_flags & TCP_FLAG_FIN) != 0;
	seen->reset |= (tcp_flags & TCP_FLAG_RST) != 0;
	return seen;
}

struct seen_flow *const *flow_table_all(const struct flow_table *table, size_t *n)
{
	*n = table->n;
	return table->order;
}
