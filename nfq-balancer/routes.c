/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/routes.c - wanted routes and rules of a link against the present ones
 *
 * Each look gathers what is wanted from the interface's addresses and main's default
 * route, reads what is there, and changes only the difference, so that looking once
 * too often costs nothing and an event lost is made good by the next look.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "nfq-balancer/kernel.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/routes.h"

#define MAX_OBJECTS 256 /* addresses, routes or rules of one link */

struct list {
	struct rtnl_object at[MAX_OBJECTS];
	unsigned n;
	bool cut; /* there were more */
};

struct look {
	struct rtnl *rtnl;
	const struct config *config;
	const struct link_config *link;
	int ifindex;
	int family;
	struct list addresses;
	struct list wanted, present; /* routes, then rules */
	bool blind; /* the kernel could not be asked */
};

static void append(struct list *list, const struct rtnl_object *object)
{
	if (list->n < MAX_OBJECTS)
		list->at[list->n++] = *object;
	else
		list->cut = true;
}

static void clear(struct list *list)
{
	list->n = 0;
	list->cut = false;
}

/* ---- what is there ---- */

static void keep_address(const struct rtnl_object *object, void *data)
{
	struct look *look = data;

	/* that it may be used will be an event */
	if (object->family == look->family && !object->tentative)
		append(&look->addresses, object);
}

static void keep_own_route(const struct rtnl_object *object, void *data)
{
	struct look *look = data;

	if (object->protocol == RTNL_PROTOCOL && object->unicast)
		append(&look->present, object);
}

static void keep_own_rule(const struct rtnl_object *object, void *data)
{
	struct look *look = data;

	if (object->protocol == RTNL_PROTOCOL && object->table == look->link->table && object->bits &&
	    object->priority == look->config->rule_preference + ROUTES_RULE_FROM)
		append(&look->present, object);
}

/* main's default route through the interface, the one with the lowest metric */
static void keep_best_default(const struct rtnl_object *object, void *data)
{
	struct list *best = data;

	if (object->bits || !object->unicast || object->protocol == RTNL_PROTOCOL)
		return;
	if (best->n && best->at[0].priority <= object->priority)
		return;
	best->at[0] = *object;
	best->n = 1;
}

/* ---- what is wanted ---- */

/* Links that share an interface are told apart by the address of each: what the router itself
 * sends by such a link has that one, as soon as it is there */
static void prefer_source(const struct look *look, struct rtnl_object *route)
{
	for (unsigned i = 0; look->link->has_address && i < look->addresses.n; i++) {
		const struct flow_addr *address = &look->addresses.at[i].addr;

		if (memcmp(&look->link->address, address, sizeof(*address)) != 0)
			continue;
		route->has_source = true;
		route->source = *address;
	}
}

static bool want_default(struct look *look)
{
	const struct gateway *gateway = look->family == 6 ? &look->link->gateway6 : &look->link->gateway;
	struct rtnl_object route = {
		.kind = RTNL_ROUTE,
		.family = (uint8_t)look->family,
		.ifindex = look->ifindex,
		.table = look->link->table,
	};
	struct list best = { .n = 0 };

	if (look->family == 4)
		route.addr.b[10] = route.addr.b[11] = 0xff; /* 0.0.0.0, as read back */
	if (gateway->kind == GATEWAY_ADDRESS) {
		route.has_gateway = true;
		route.gateway = gateway->addr;
	} else if (gateway->kind == GATEWAY_AUTO) {
		look->blind =
			!rtnl_routes(look->rtnl, look->family, RT_TABLE_MAIN, look->ifindex, keep_best_default, &best);
		if (!best.n)
			return false;
		route.has_gateway = best.at[0].has_gateway;
		route.gateway = best.at[0].gateway;
	}
	prefer_source(look, &route);
	append(&look->wanted, &route);
	return true;
}

static void clear_host_bits(struct flow_addr *addr, unsigned bits)
{
	for (unsigned i = bits; i < 128; i++)
		addr->b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

static void want_connected(struct look *look)
{
	unsigned full = look->family == 6 ? 128 : 32;

	for (unsigned i = 0; i < look->addresses.n; i++) {
		const struct rtnl_object *address = &look->addresses.at[i];
		struct rtnl_object route = {
			.kind = RTNL_ROUTE,
			.family = address->family,
			.ifindex = look->ifindex,
			.table = look->link->table,
			.addr = address->addr,
			.bits = address->bits,
			.has_source = address->global,
			.source = address->addr,
		};

		if (address->bits >= full)
			continue;
		clear_host_bits(&route.addr, address->bits + (128 - full));
		append(&look->wanted, &route);
	}
}

static void want_rules(struct look *look)
{
	const struct link_config *link = look->link;

	for (unsigned i = 0; i < look->addresses.n; i++) {
		const struct rtnl_object *address = &look->addresses.at[i];
		struct rtnl_object rule = {
			.kind = RTNL_RULE,
			.family = address->family,
			.table = link->table,
			.priority = look->config->rule_preference + ROUTES_RULE_FROM,
			.addr = address->addr,
			.bits = address->family == 6 ? 128 : 32,
			.unmarked_mask = look->config->mask,
		};

		if (!address->global)
			continue;
		/* several links on one interface: each has its own address there */
		if (link->has_address && memcmp(&link->address, &address->addr, sizeof(link->address)) != 0)
			continue;
		append(&look->wanted, &rule);
	}
}

/* ---- the difference ---- */

static bool same_target(const struct rtnl_object *a, const struct rtnl_object *b)
{
	/* 0 bits: a default, whose address says nothing */
	return a->bits == b->bits && a->table == b->table &&
	       (a->bits == 0 || memcmp(&a->addr, &b->addr, sizeof(a->addr)) == 0);
}

static bool same_route(const struct rtnl_object *a, const struct rtnl_object *b)
{
	return same_target(a, b) && a->ifindex == b->ifindex && a->has_gateway == b->has_gateway &&
	       (!a->has_gateway || memcmp(&a->gateway, &b->gateway, sizeof(a->gateway)) == 0);
}

typedef bool same_function(const struct rtnl_object *a, const struct rtnl_object *b);

static bool listed(const struct list *list, const struct rtnl_object *object, same_function *same)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (same(&list->at[i], object))
			return true;
	}
	return false;
}

typedef int change_function(struct rtnl *rtnl, const struct rtnl_object *object);

static void change(struct look *look, change_function *function, const struct rtnl_object *object, const char *what)
{
	char addr[FLOW_ADDR_STRLEN];
	int failed = function(look->rtnl, object);

	if (failed)
		log_warning("link %s: cannot %s %s/%u in table %u: %s", look->link->name, what,
			    flow_addr_str(&object->addr, addr), object->bits, object->table, strerror(failed));
	else
		log_info("link %s: %s %s/%u in table %u", look->link->name, what, flow_addr_str(&object->addr, addr),
			 object->bits, object->table);
}

/* What is not wanted may go; not when only a part of what is wanted is known */
static bool may_remove(const struct look *look)
{
	return !look->addresses.cut && !look->wanted.cut;
}

/* Does it name a source that the interface has no more? The kernel flushes such routes from main's table only,
 * where a link keeps other addresses (net.ipv4.conf.*.promote_secondaries). */
static bool has_stale_source(const struct look *look, const struct rtnl_object *route)
{
	if (!route->has_source || look->addresses.cut)
		return false;
	for (unsigned i = 0; i < look->addresses.n; i++) {
		if (!memcmp(&look->addresses.at[i].addr, &route->source, sizeof(route->source)))
			return false;
	}
	return true;
}

/* A default that was set while the link's own address was away: prefer_source() */
static bool lacks_source(const struct rtnl_object *route, const struct rtnl_object *wanted)
{
	return !wanted->bits && wanted->has_source && !route->has_source;
}

static bool in_place(const struct look *look, const struct rtnl_object *wanted)
{
	for (unsigned i = 0; i < look->present.n; i++) {
		const struct rtnl_object *route = &look->present.at[i];

		if (same_route(route, wanted) && !has_stale_source(look, route) && !lacks_source(route, wanted))
			return true;
	}
	return false;
}

/* Remove first: an IPv6 default through an old gateway would stay beside the new one */
static void apply_routes(struct look *look)
{
	for (unsigned i = 0; i < look->present.n && may_remove(look); i++) {
		const struct rtnl_object *route = &look->present.at[i];

		if (route->ifindex == look->ifindex && !listed(&look->wanted, route, same_route))
			change(look, rtnl_route_delete, route, "remove route");
	}
	for (unsigned i = 0; i < look->wanted.n; i++) {
		if (!in_place(look, &look->wanted.at[i]))
			change(look, rtnl_route_replace, &look->wanted.at[i], "set route");
	}
}

static void apply_rules(struct look *look)
{
	for (unsigned i = 0; i < look->wanted.n; i++) {
		if (!listed(&look->present, &look->wanted.at[i], same_target))
			change(look, rtnl_rule_add, &look->wanted.at[i], "add rule from");
	}
	for (unsigned i = 0; i < look->present.n && may_remove(look); i++) {
		if (!listed(&look->wanted, &look->present.at[i], same_target))
			change(look, rtnl_rule_delete, &look->present.at[i], "remove rule from");
	}
}

/* ---- one look ---- */

static bool shares_interface(const struct look *look)
{
	for (size_t i = 0; i < look->config->n_links; i++) {
		const struct link_config *other = &look->config->links[i];

		if (other != look->link && !strcmp(other->interface, look->link->interface))
			return true;
	}
	return false;
}

/* Is there an address for masquerade to take? On a shared interface the rules name the link's own instead
 * (scripts/rules/policy.sh): there any other would not do. */
static bool has_source(const struct look *look)
{
	const struct flow_addr *own = &look->link->address;
	const bool needs_own =
		look->link->has_address && flow_addr_family(own) == look->family && shares_interface(look);

	for (unsigned i = 0; i < look->addresses.n; i++) {
		const struct rtnl_object *address = &look->addresses.at[i];

		if (needs_own ? !memcmp(&address->addr, own, sizeof(*own)) : address->global)
			return true;
	}
	return false;
}

/* What keeps the family from leaving by the link, or NULL; `known` where nothing could be learnt */
static const char *sync_family(struct look *look, bool active, const char *known)
{
	const struct nat *nat = look->family == 6 ? &look->link->nat6 : &look->link->nat;
	const char *missing = NULL;

	clear(&look->addresses);
	clear(&look->wanted);
	clear(&look->present);
	look->blind = !rtnl_addresses(look->rtnl, look->ifindex, keep_address, look);
	if (nat->kind == NAT_MASQUERADE && !has_source(look))
		missing = "no address";
	if (!look->blind && !want_default(look))
		missing = missing ? missing : "no gateway";
	if (look->blind) {
		log_warning("link %s: cannot read addresses and routes: %s", look->link->name, strerror(errno));
		return known;
	}
	if (look->addresses.cut)
		log_warning("link %s: more than %d addresses: some have no rule", look->link->name, MAX_OBJECTS);
	want_connected(look);
	if (!active)
		return missing;
	if (rtnl_routes(look->rtnl, look->family, look->link->table, 0, keep_own_route, look))
		apply_routes(look);
	clear(&look->wanted);
	clear(&look->present);
	want_rules(look);
	if (rtnl_rules(look->rtnl, look->family, keep_own_rule, look))
		apply_rules(look);
	return missing;
}

static void sync_group(struct rtnl *rtnl, const struct link_config *link, const struct rtnl_object *interface)
{
	if (interface->group == RTNL_LINK_GROUP)
		return;
	int failed = interface->group ? EBUSY : rtnl_set_group(rtnl, interface->ifindex, RTNL_LINK_GROUP);

	if (failed == EBUSY)
		/* somebody's own; the rules script has warned of it, and its check does again */
		log_debug("link %s: %s is in interface group %u: routes through it count as inner ones", link->name,
			  link->interface, interface->group);
	else if (failed)
		log_warning("link %s: cannot put %s into the group of links: %s", link->name, link->interface,
			    strerror(failed));
}

/* Strict on an interface that was made (again) after the rules script had looked:
 * answers come by the link, and main's route back is another, so they would be dropped */
static void sync_filter(struct rtnl *rtnl, const struct link_config *link, int ifindex)
{
	if (link->gateway.kind == GATEWAY_OFF || kernel_rp_filter(link->interface) != 1)
		return;
	int failed = rtnl_set_rp_filter(rtnl, ifindex, 2);

	if (failed)
		log_warning("link %s: the reverse path filter of %s is strict and drops answers: %s", link->name,
			    link->interface, strerror(failed));
	else
		log_info("link %s: reverse path filter of %s made loose", link->name, link->interface);
}

/* The interface is gone, and its routes with it; `from` rules would stay, and lead the next
 * owner of the address into an empty table */
static void remove_rules(struct look *look)
{
	for (look->family = 4; look->family <= 6; look->family += 2) {
		clear(&look->addresses);
		clear(&look->wanted);
		clear(&look->present);
		if (rtnl_rules(look->rtnl, look->family, keep_own_rule, look))
			apply_rules(look);
	}
}

void routes_sync_link(struct rtnl *rtnl, struct links *links, unsigned link, bool active)
{
	const struct link_config *config = &links->config->links[link];
	struct look look = { .rtnl = rtnl, .config = links->config, .link = config };
	struct rtnl_object interface;

	if (!rtnl_interface(rtnl, config->interface, 0, &interface)) {
		if (errno != ENODEV) {
			log_warning("link %s: cannot look at %s: %s", config->name, config->interface, strerror(errno));
			return;
		}
		links_set_interface(links, link, 0, false);
		if (active)
			remove_rules(&look);
		return;
	}
	look.ifindex = interface.ifindex;
	if (active) {
		sync_group(rtnl, config, &interface);
		sync_filter(rtnl, config, interface.ifindex);
	}
	/* routes need the interface up; carrier may come and go above them */
	for (int family = 4; family <= 6 && interface.up; family += 2) {
		const struct gateway *gateway = family == 6 ? &config->gateway6 : &config->gateway;

		look.family = family;
		if (gateway->kind != GATEWAY_OFF)
			links_set_missing(links, link, family,
					  sync_family(&look, active, links->status[link].missing[family == 6]));
	}
	/* last, so that a link is up only when its routes are */
	links_set_interface(links, link, interface.ifindex, interface.carrier);
}

static bool concerned(const struct link_config *config, const struct link_status *status,
		      const struct rtnl_object *object)
{
	switch (object->kind) {
	case RTNL_INTERFACE: /* a rename shows in the index, a new interface in the name */
		return object->ifindex == status->ifindex || !strcmp(object->name, config->interface);
	case RTNL_ADDRESS:
		return object->ifindex == status->ifindex;
	case RTNL_ROUTE:
		if (object->table == config->table)
			return object->gone;
		return object->table == RT_TABLE_MAIN && object->bits == 0 && object->ifindex == status->ifindex;
	case RTNL_RULE:
		break;
	}
	return false;
}

uint64_t routes_concerned(const struct links *links, const struct rtnl_object *object)
{
	uint64_t found = 0;

	for (size_t i = 0; i < links->config->n_links; i++) {
		if (concerned(&links->config->links[i], &links->status[i], object))
			found |= UINT64_C(1) << i;
	}
	return found;
}
