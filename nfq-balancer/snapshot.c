/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/snapshot.c - what one published policy consists of
 */
#include <net/if.h>
#include <stdlib.h>

#include "nfq-balancer/snapshot.h"

static bool build_attrs(struct snapshot *snapshot)
{
	const struct config *config = policy_config(snapshot->policy);
	uint32_t mask = config->mask, settled = config_mark_settled(mask);

	for (size_t i = 0; i < config->n_links; i++) {
		uint32_t mark = settled | config_mark_link(mask, config->links[i].id);

		if (!conntrack_mark_attr(&snapshot->link_attr[i], mark, mask))
			return false;
	}
	return conntrack_mark_attr(&snapshot->main_attr, config_mark_main(mask), mask);
}

struct snapshot *snapshot_new(struct policy *policy)
{
	static uint64_t made; /* control thread only */
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (!snapshot) {
		policy_free(policy);
		return NULL;
	}
	snapshot->policy = policy;
	snapshot->number = ++made;
	if (!build_attrs(snapshot)) {
		snapshot_free(snapshot);
		return NULL;
	}
	snapshot_scan_ifaces(snapshot);
	return snapshot;
}

void snapshot_free(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	policy_free(snapshot->policy);
	free(snapshot);
}

/* Where an interface stands, or the first free place for index 0; NULL: nowhere */
static _Atomic uint64_t *place_of(struct snapshot *snapshot, unsigned ifindex)
{
	for (unsigned i = 0; i < CONFIG_MAX_IFACES; i++) {
		if (atomic_load_explicit(&snapshot->iface[i], memory_order_relaxed) >> 16 == ifindex)
			return &snapshot->iface[i];
	}
	return NULL;
}

/* One store, where the interface stands already: a worker that looks meanwhile must not miss it */
void snapshot_set_iface(struct snapshot *snapshot, unsigned ifindex, const char *name)
{
	const uint16_t slot = name ? policy_iface_slot(snapshot->policy, name) : 0;
	_Atomic uint64_t *place = place_of(snapshot, ifindex);
	unsigned used;

	if (!place && slot)
		place = place_of(snapshot, 0);
	if (!place)
		return;
	atomic_store_explicit(place, slot ? (uint64_t)ifindex << 16 | slot : 0, memory_order_relaxed);
	used = (unsigned)(place - snapshot->iface) + 1;
	if (used > atomic_load_explicit(&snapshot->n_ifaces, memory_order_relaxed))
		atomic_store_explicit(&snapshot->n_ifaces, used, memory_order_relaxed);
}

static bool listed(const struct if_nameindex *all, unsigned ifindex)
{
	while (all->if_index && all->if_index != ifindex)
		all++;
	return all->if_index != 0;
}

/* That an interface is gone may be among the events that were lost */
static void forget_gone(struct snapshot *snapshot, const struct if_nameindex *all)
{
	for (unsigned i = 0; i < CONFIG_MAX_IFACES; i++) {
		const uint64_t entry = atomic_load_explicit(&snapshot->iface[i], memory_order_relaxed);

		if (entry && !listed(all, (unsigned)(entry >> 16)))
			atomic_store_explicit(&snapshot->iface[i], 0, memory_order_relaxed);
	}
}

void snapshot_scan_ifaces(struct snapshot *snapshot)
{
	/* without a rule that names an interface there is nothing to look for */
	struct if_nameindex *all = policy_config(snapshot->policy)->n_ifaces ? if_nameindex() : NULL;

	if (!all)
		return;
	forget_gone(snapshot, all);
	for (const struct if_nameindex *one = all; one->if_index; one++)
		snapshot_set_iface(snapshot, one->if_index, one->if_name);
	if_freenameindex(all);
}
