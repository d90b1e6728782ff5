/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/rtnl.h - rtnetlink: interfaces, addresses, routes, rules
 *
 * The wall to the kernel's routing: plain structs outside, netlink inside. One
 * socket for events (non-blocking) and one for requests (answered at once by the
 * kernel, never by the network). Control thread only. Needs CAP_NET_ADMIN to change anything.
 */
#ifndef NFQB_RTNL_H
#define NFQB_RTNL_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/flow.h"

#define RTNL_PROTOCOL 157 /* of every route and rule that is ours; the rules script uses the same */
#define RTNL_LINK_GROUP 0x6e66 /* interface group of the links */

struct rtnl;

enum rtnl_kind {
	RTNL_INTERFACE,
	RTNL_ADDRESS,
	RTNL_ROUTE,
	RTNL_RULE,
};

struct rtnl_object {
	enum rtnl_kind kind;
	bool gone; /* event: it was removed */
	int ifindex; /* interface itself; of the address; output interface of the route */
	uint8_t family; /* 4 or 6 */
	/* RTNL_INTERFACE */
	char name[16];
	bool carrier; /* IFF_UP, IFF_RUNNING, IFF_LOWER_UP */
	bool up; /* IFF_UP */
	uint32_t group;
	uint64_t rx_bytes, tx_bytes;
	/* RTNL_ADDRESS: addr/bits; RTNL_ROUTE: destination; RTNL_RULE: source */
	struct flow_addr addr;
	uint8_t bits; /* in the family's own length: 0..32, 0..128 */
	bool global; /* scope of the address: neither link nor host */
	bool tentative; /* RTNL_ADDRESS: nobody may use it yet, or never, as somebody else has it (RFC 4862) */
	/* RTNL_ROUTE, RTNL_RULE */
	uint32_t table;
	uint32_t priority; /* metric of the route, preference of the rule */
	uint8_t protocol;
	bool unicast; /* type of the route */
	bool has_gateway;
	struct flow_addr gateway;
	bool has_source; /* RTNL_ROUTE: preferred source address */
	struct flow_addr source;
	uint32_t unmarked_mask; /* RTNL_RULE, only written: for packets whose mark is 0 in this mask */
};

typedef void rtnl_each(const struct rtnl_object *object, void *data);

struct rtnl *rtnl_open(char *error, size_t size);
void rtnl_close(struct rtnl *rtnl);
int rtnl_event_fd(const struct rtnl *rtnl);

/* Hand every waiting event to `each`. False: events were lost, look at everything again. */
bool rtnl_read_events(struct rtnl *rtnl, rtnl_each *each, void *data);

/* Dumps; `ifindex`, `table` 0: all. False: errno. */
bool rtnl_interfaces(struct rtnl *rtnl, rtnl_each *each, void *data);
bool rtnl_addresses(struct rtnl *rtnl, int ifindex, rtnl_each *each, void *data);
bool rtnl_routes(struct rtnl *rtnl, int family, uint32_t table, int ifindex, rtnl_each *each, void *data);
bool rtnl_rules(struct rtnl *rtnl, int family, rtnl_each *each, void *data);
/* One interface by name or index (name NULL). False when it does not exist. */
bool rtnl_interface(struct rtnl *rtnl, const char *name, int ifindex, struct rtnl_object *out);

/* Changes: 0, or an errno value. Routes are created or replaced with RTNL_PROTOCOL. */
int rtnl_route_replace(struct rtnl *rtnl, const struct rtnl_object *route);
int rtnl_route_delete(struct rtnl *rtnl, const struct rtnl_object *route);
/* `from addr/bits lookup table` at preference `priority` */
int rtnl_rule_add(struct rtnl *rtnl, const struct rtnl_object *rule);
int rtnl_rule_delete(struct rtnl *rtnl, const struct rtnl_object *rule);
int rtnl_set_group(struct rtnl *rtnl, int ifindex, uint32_t group);
/* net.ipv4.conf.INTERFACE.rp_filter; by netlink, since /proc/sys may be read-only for a service */
int rtnl_set_rp_filter(struct rtnl *rtnl, int ifindex, uint32_t value);

#endif
