/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/links.h - the state of each link
 *
 * Inputs: what rtnetlink says of the interface (carrier, presence), whether its families
 * have a way out (routes.h), what the administrator asked for. Output: the set of usable
 * links in struct link_runtime. Control thread only; workers read link_runtime.
 *
 *   up      takes new flows
 *   drain   takes no new flows, its flows go on            (administrator)
 *   down    takes no new flows                             (carrier, interface, no way out, administrator)
 */
#ifndef NFQB_LINKS_H
#define NFQB_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/runtime.h"

enum link_state {
	LINK_UP,
	LINK_DRAIN,
	LINK_DOWN,
	LINK_STATES
};

enum link_admin { /* `set link NAME up|down|drain|auto` */
	LINK_ADMIN_AUTO, /* state follows the interface */
	LINK_ADMIN_UP, /* usable whatever the interface says */
	LINK_ADMIN_DOWN,
	LINK_ADMIN_DRAIN,
};

struct link_status {
	enum link_state state;
	enum link_admin admin;
	int ifindex; /* 0: the interface does not exist */
	bool carrier; /* IFF_UP, IFF_RUNNING and IFF_LOWER_UP */
	const char *missing[2]; /* IPv4, IPv6: why that family has no way out ("no gateway"), or NULL */
	bool changed_once; /* `changed` and `why` hold a change since the start */
	uint64_t changed; /* CLOCK_REALTIME seconds */
	char why[64]; /* "carrier lost", "interface gone", "set down by administrator", ... */
	uint64_t rx_bytes, tx_bytes; /* interface counters as last read */
};

struct links {
	const struct config *config; /* the running one; changed by reload */
	struct link_runtime *runtime;
	struct link_status status[CONFIG_MAX_LINKS]; /* by link index */
	bool started; /* the first look at all interfaces is done */
	unsigned generation; /* +1 at each change of any state: for `watch` */
};

/* Every link down until its interface is seen */
void links_init(struct links *links, const struct config *config, struct link_runtime *runtime);

/* The first look at the interfaces is done: links that are up have not changed */
void links_started(struct links *links);

/* What rtnetlink says: `ifindex` 0 when the interface does not exist */
void links_set_interface(struct links *links, unsigned link, int ifindex, bool carrier);
/* What keeps a family from leaving by this link ("no address", "no gateway"), or NULL. A link
 * is up while one of its families has a way out; new flows of the other avoid it. */
void links_set_missing(struct links *links, unsigned link, int family, const char *missing);

void links_set_weight(struct links *links, unsigned link, uint32_t weight);
void links_set_admin(struct links *links, unsigned link, enum link_admin admin);

const char *link_state_name(enum link_state state);
const char *link_admin_name(enum link_admin admin);
int link_admin_parse(const char *name); /* -1: unknown */

#endif
