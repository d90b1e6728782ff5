/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/links.c - from what is known of an interface to a usable link
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/links.h"
#include "nfq-balancer/log.h"

void links_init(struct links *links, const struct config *config, struct link_runtime *runtime)
{
	memset(links, 0, sizeof(*links));
	links->config = config;
	links->runtime = runtime;
	for (size_t i = 0; i < config->n_links; i++) {
		links->status[i].state = LINK_DOWN;
		snprintf(links->status[i].why, sizeof(links->status[i].why), "interface absent");
	}
	atomic_store_explicit(&runtime->usable, 0, memory_order_relaxed);
}

static void publish(struct links *links)
{
	uint64_t usable = 0;

	for (size_t i = 0; i < links->config->n_links; i++) {
		if (links->status[i].state == LINK_UP)
			usable |= UINT64_C(1) << i;
	}
	atomic_store_explicit(&links->runtime->usable, usable, memory_order_relaxed);
}

static enum link_state wanted_state(const struct link_status *status)
{
	switch (status->admin) {
	case LINK_ADMIN_UP:
		return LINK_UP;
	case LINK_ADMIN_DOWN:
		return LINK_DOWN;
	case LINK_ADMIN_DRAIN:
		return LINK_DRAIN;
	case LINK_ADMIN_AUTO:
		break;
	}
	return status->ifindex && status->carrier && !status->no_gateway ? LINK_UP : LINK_DOWN;
}

/* Bring the state of one link in line with its inputs; `why` tells what changed them */
static void settle_state(struct links *links, unsigned link, const char *why)
{
	struct link_status *status = &links->status[link];
	enum link_state wanted = wanted_state(status);

	if (wanted == status->state)
		return;
	status->state = wanted;
	status->changed = (uint64_t)time(NULL);
	status->changed_once = true;
	snprintf(status->why, sizeof(status->why), "%s", why);
	links->generation++;
	publish(links);
	log_warning("link %s is %s: %s", links->config->links[link].name, link_state_name(wanted), why);
}

void links_set_weight(struct links *links, unsigned link, uint32_t weight)
{
	atomic_store_explicit(&links->runtime->weight[link], weight, memory_order_relaxed);
	links->generation++;
}

void links_set_admin(struct links *links, unsigned link, enum link_admin admin)
{
	char why[64];

	snprintf(why, sizeof(why), "set %s by administrator", link_admin_name(admin));
	links->status[link].admin = admin;
	links->generation++;
	settle_state(links, link, why);
}

void links_set_interface(struct links *links, unsigned link, int ifindex, bool carrier)
{
	struct link_status *status = &links->status[link];
	const char *why = !ifindex ? "interface gone" : !carrier ? "carrier lost" : "carrier back";

	if (ifindex && carrier && !status->ifindex)
		why = "interface back";
	status->ifindex = ifindex;
	status->carrier = carrier;
	settle_state(links, link, why);
}

void links_set_gateway_known(struct links *links, unsigned link, bool known)
{
	links->status[link].no_gateway = !known;
	settle_state(links, link, known ? "gateway known" : "no gateway");
}

/* ---- names ---- */

static const char *const state_names[] = {
	[LINK_UP] = "up",
	[LINK_DRAIN] = "drain",
	[LINK_DOWN] = "down",
};

_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == LINK_STATES, "a name for each state");

static const char *const admin_names[] = {
	[LINK_ADMIN_AUTO] = "auto",
	[LINK_ADMIN_UP] = "up",
	[LINK_ADMIN_DOWN] = "down",
	[LINK_ADMIN_DRAIN] = "drain",
};

#define ADMINS (sizeof(admin_names) / sizeof(admin_names[0]))

const char *link_state_name(enum link_state state)
{
	return state_names[state];
}

const char *link_admin_name(enum link_admin admin)
{
	return admin_names[admin];
}

int link_admin_parse(const char *name)
{
	for (size_t i = 0; i < ADMINS; i++) {
		if (!strcmp(name, admin_names[i]))
			return (int)i;
	}
	return -1;
}
