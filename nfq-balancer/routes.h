/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/routes.h - keep the links' tables right while interfaces come and go
 *
 * The kernel deletes a table's routes when a link goes down or loses its address;
 * DHCP, PPP and router advertisements change gateways. The rules script makes the
 * tables once; from then on this follows rtnetlink: default and connected routes of
 * each link's table, the `from ADDRESS` rules and the interface group, but only
 * while the rules are in place. It also tells links.h which family has a way out.
 * Control thread only. The layout is in NOTES.md, "Routing".
 */
#ifndef NFQB_ROUTES_H
#define NFQB_ROUTES_H

#include "nfq-balancer/links.h"
#include "nfq-balancer/rtnl.h"

#define ROUTES_RULE_FROM 1 /* preference of the `from` rules, after config.rule_preference */

/* Look at one link and put right what is not. `active`: the rules are in place. */
void routes_sync_link(struct rtnl *rtnl, struct links *links, unsigned link, bool active);

/* The links that an event is about, so that a look at them is due. Bit i: links[i]. */
uint64_t routes_concerned(const struct links *links, const struct rtnl_object *object);

#endif
