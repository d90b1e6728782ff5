/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_flows.c - `show flows`: the kernel's connections and their links
 *
 * A stream: the kernel hands over the next part of its table only after the client
 * has read the last one, so that neither a million flows nor a client that never
 * reads costs memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conntrack/table.h"
#include "nfq-balancer/control_private.h"
#include "nfq-balancer/human.h"

struct flows_filter {
	int link; /* index, or -1 */
	bool has_client, has_protocol, has_port;
	struct flow_addr client;
	int family; /* of `client`; 0: both */
	uint16_t port;
	uint8_t protocol;
};

struct flows {
	struct client *client;
	struct flows_filter filter;
	struct conntrack_dump *dump;
	struct event *readable;
	uint64_t count;
};

static bool wanted(const struct flows_filter *filter, const struct conntrack_entry *entry)
{
	const struct flow *flow = &entry->flow;

	if (filter->has_client && memcmp(&flow->src, &filter->client, sizeof(flow->src)) != 0)
		return false;
	if (filter->has_protocol && flow->protocol != filter->protocol)
		return false;
	return !filter->has_port || (flow->ports && (flow->sport == filter->port || flow->dport == filter->port));
}

/* The link's name, or what else the mark says */
static const char *link_of(const struct config *config, uint32_t mark)
{
	unsigned id = config_mark_id(config->mask, mark);
	int link = id ? config_link_by_id(config, id) : -1;

	if (link >= 0)
		return config->links[link].name;
	return (mark & config->mask) == config_mark_main(config->mask) ? "(main)" : "-";
}

static void entry_text(struct client *client, const struct conntrack_entry *entry)
{
	char protocol[HUMAN_LEN], from[FLOW_ADDR_STRLEN + 8], to[FLOW_ADDR_STRLEN + 8];
	char counted[64] = "-", bytes[HUMAN_LEN];
	uint64_t packets = entry->packets[0] + entry->packets[1];

	if (packets)
		snprintf(counted, sizeof(counted), "%" PRIu64 "/%s", packets,
			 human_bytes(entry->bytes[0] + entry->bytes[1], bytes));
	reply(client, "%-7s %-24s %-24s %-12s %-12s %-12s %u s\n", human_protocol(entry->flow.protocol, protocol),
	      human_endpoint(&entry->flow, true, from), human_endpoint(&entry->flow, false, to),
	      link_of(client_config(client), entry->mark),
	      entry->tcp_state ? conntrack_tcp_state_name(entry->tcp_state) : "-", counted, entry->timeout);
}

static void entry_json(struct client *client, const struct conntrack_entry *entry)
{
	const struct config *config = client_config(client);
	const struct flow *flow = &entry->flow;
	char protocol[HUMAN_LEN], src[FLOW_ADDR_STRLEN], dst[FLOW_ADDR_STRLEN];
	unsigned id = config_mark_id(config->mask, entry->mark);
	int link = id ? config_link_by_id(config, id) : -1;

	reply_json(client,
		   json_pack("{ss ss si ss si ss? sI ss sI sI sI sI sI}", "protocol",
			     human_protocol(flow->protocol, protocol), "src", flow_addr_str(&flow->src, src), "sport",
			     (int)flow->sport, "dst", flow_addr_str(&flow->dst, dst), "dport", (int)flow->dport, "link",
			     link >= 0 ? config->links[link].name : NULL, "mark", (json_int_t)entry->mark, "state",
			     conntrack_tcp_state_name(entry->tcp_state), "timeout", (json_int_t)entry->timeout,
			     "packets", (json_int_t)entry->packets[0], "reply_packets", (json_int_t)entry->packets[1],
			     "bytes", (json_int_t)entry->bytes[0], "reply_bytes", (json_int_t)entry->bytes[1]));
}

static void each(const struct conntrack_entry *entry, void *data)
{
	struct flows *flows = data;

	if (!wanted(&flows->filter, entry))
		return;
	flows->count++;
	if (flows->client->json)
		entry_json(flows->client, entry);
	else
		entry_text(flows->client, entry);
}

void flows_stop(struct client *client)
{
	struct flows *flows = client->flows;

	if (!flows)
		return;
	client->flows = NULL;
	if (flows->readable)
		event_free(flows->readable);
	conntrack_dump_free(flows->dump);
	free(flows);
}

static void finish(struct client *client, int result)
{
	int error = errno;
	uint64_t count = client->flows->count;

	flows_stop(client);
	if (result < 0) {
		reply_error(client, "show flows: the kernel stopped after %" PRIu64 " flows: %s", count,
			    strerror(error));
		return;
	}
	if (client->json)
		reply_json(client, json_pack("{sI}", "count", (json_int_t)count));
	else
		reply(client, "%" PRIu64 " flow%s\n", count, count == 1 ? "" : "s");
	reply_ok(client);
}

/* One part of the dump is there: hand it over, then go on or wait for the client to read */
static void dump_readable(evutil_socket_t fd, short what, void *data)
{
	struct flows *flows = data;
	struct client *client = flows->client;
	int result = conntrack_dump_read(flows->dump, each, flows);

	(void)fd;
	(void)what;
	if (result > 0) {
		if (client_may_write(client))
			event_add(flows->readable, NULL);
		return;
	}
	finish(client, result);
	client_work(client);
}

void flows_resume(struct client *client)
{
	/* no effect while it is added already */
	event_add(client->flows->readable, NULL);
}

static bool parse_filter(struct client *client, int argc, char **argv, struct flows_filter *filter)
{
	uint64_t number;

	filter->link = -1;
	for (int i = 0; i < argc; i += 2) {
		const char *key = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!value) {
			reply_error(client, "filter %s: expected a value behind it", reply_quote(key));
			return false;
		}
		if (strcmp(key, "link") == 0) {
			filter->link = argument_link(client, value);
			if (filter->link < 0)
				return false;
		} else if (strcmp(key, "client") == 0) {
			filter->has_client = true;
			if (!argument_address(client, "client", value, &filter->client, &filter->family))
				return false;
		} else if (strcmp(key, "port") == 0) {
			filter->has_port = true;
			if (!argument_number(client, "port", value, 0, UINT16_MAX, &number))
				return false;
			filter->port = (uint16_t)number;
		} else if (strcmp(key, "proto") == 0) {
			filter->has_protocol = true;
			if (!argument_protocol(client, value, &filter->protocol))
				return false;
		} else {
			reply_error(client, "filter %s: expected link, client, port or proto", reply_quote(key));
			return false;
		}
	}
	return true;
}

void control_flows(struct client *client, int argc, char **argv)
{
	const struct config *config = client_config(client);
	struct flows *flows = calloc(1, sizeof(*flows));
	uint32_t value = 0, mask = 0;

	if (!flows) {
		reply_error(client, "out of memory");
		return;
	}
	if (!parse_filter(client, argc, argv, &flows->filter)) {
		free(flows);
		return;
	}
	flows->client = client;
	if (flows->filter.link >= 0) { /* the kernel filters by mark itself */
		mask = config->mask;
		value = config_mark_settled(mask) | config_mark_link(mask, config->links[flows->filter.link].id);
	}
	flows->dump = conntrack_dump_start(value, mask, flows->filter.family);
	if (flows->dump)
		flows->readable = event_new(client->control->daemon->base, conntrack_dump_fd(flows->dump), EV_READ,
					    dump_readable, flows);
	if (!flows->dump || !flows->readable) {
		reply_error(client, "show flows: %s", strerror(flows->dump ? ENOMEM : errno));
		if (flows->dump)
			conntrack_dump_free(flows->dump);
		free(flows);
		return;
	}
	client->flows = flows;
	if (!client->json)
		reply(client, "%-7s %-24s %-24s %-12s %-12s %-12s %s\n", "PROTO", "CLIENT", "SERVER", "LINK", "STATE",
		      "PKTS/BYTES", "TIMEOUT");
	event_add(flows->readable, NULL);
}
