/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/links.c - from what is known of an interface to a usable link
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nfq-balancer/links.h"
#include "nfq-balancer/log.h"

static void publish_family(struct links *links, int family)
{
	uint64_t usable = 0;

	for (size_t i = 0; i < links->config->n_links; i++) {
		const struct link_status *status = &links->status[i];
		bool forced = status->admin == LINK_ADMIN_UP;

		if (status->state == LINK_UP && (forced || !status->missing[family == 6]))
			usable |= UINT64_C(1) << i;
	}
	link_runtime_set_usable(links->runtime, family, usable);
}

static void publish(struct links *links)
{
	publish_family(links, 4);
	publish_family(links, 6);
}

void links_init(struct links *links, const struct config *config, struct link_runtime *runtime)
{
	memset(links, 0, sizeof(*links));
	links->config = config;
	links->runtime = runtime;
	for (size_t i = 0; i < config->n_links; i++) {
		links->status[i].state = LINK_DOWN;
		snprintf(links->status[i].why, sizeof(links->status[i].why), "interface absent");
	}
	publish(links);
}

/* NULL while some family that the link carries has a way out */
static const char *missing_way(const struct link_config *config, const struct link_status *status)
{
	bool has4 = config->gateway.kind != GATEWAY_OFF, has6 = config->gateway6.kind != GATEWAY_OFF;

	if ((has4 && !status->missing[0]) || (has6 && !status->missing[1]))
		return NULL;
	return has4 ? status->missing[0] : status->missing[1];
}

static enum link_state wanted_state(const struct link_config *config, const struct link_status *status)
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
	return status->ifindex && status->carrier && !missing_way(config, status) ? LINK_UP : LINK_DOWN;
}

/* Bring the state of one link in line with its inputs; `why` tells what changed them */
static void settle_state(struct links *links, unsigned link, const char *why)
{
	struct link_status *status = &links->status[link];
	enum link_state wanted = wanted_state(&links->config->links[link], status);

	bool changed = wanted != status->state;

	status->state = wanted;
	publish(links); /* also without a change of state: one of the families may have changed */
	if (!changed)
		return;
	status->changed = (uint64_t)time(NULL);
	status->changed_once = true;
	snprintf(status->why, sizeof(status->why), "%s", why);
	links->generation++;
	if (wanted == LINK_UP)
		log_info("link %s is up: %s", links->config->links[link].name, why);
	else
		log_warning("link %s is %s: %s", links->config->links[link].name, link_state_name(wanted), why);
}

void links_started(struct links *links)
{
	links->started = true;
	for (size_t i = 0; i < links->config->n_links; i++) {
		struct link_status *status = &links->status[i];

		if (status->state == LINK_UP)
			status->changed_once = false;
	}
}

void links_set_weight(struct links *links, unsigned link, uint32_t weight)
{
	link_runtime_set_weight(links->runtime, link, weight);
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
		why = links->started ? "interface back" : "interface present";
	status->ifindex = ifindex;
	status->carrier = carrier;
	settle_state(links, link, why);
}

void links_set_missing(struct links *links, unsigned link, int family, const char *missing)
{
	const char **now = &links->status[link].missing[family == 6];

	if (*now == missing || (*now && missing && !strcmp(*now, missing)))
		return;
	*now = missing;
	settle_state(links, link, missing ? missing : "has a way out");
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
