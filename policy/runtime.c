/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/runtime.c - the live values as the configuration states them
 */
#include "policy/runtime.h"

/* 0 is for what is not stated, however little that is */
static uint32_t units_of(uint64_t bits)
{
	const uint64_t units = bits / CAPACITY_UNIT;

	return units > UINT32_MAX ? UINT32_MAX : units || !bits ? (uint32_t)units : 1;
}

void link_runtime_set_capacities(struct link_runtime *runtime, const struct config *config)
{
	for (size_t i = 0; i < config->n_links; i++) {
		const struct link_config *link = &config->links[i];

		link_runtime_set_capacity(runtime, (unsigned)i,
					  units_of(link->download ? link->download : link->upload));
	}
}

void link_runtime_init(struct link_runtime *runtime, const struct config *config)
{
	uint64_t usable = 0;

	for (size_t i = 0; i < config->n_links; i++) {
		usable |= UINT64_C(1) << i;
		runtime->id[i] = config->links[i].id;
		link_runtime_set_weight(runtime, (unsigned)i, config->links[i].weight);
	}
	for (size_t i = 0; i < config->n_groups; i++) {
		const struct group_config *group = &config->groups[i];

		link_runtime_set_scheduler(runtime, group->slot, group->scheduler);
	}
	link_runtime_set_capacities(runtime, config);
	link_runtime_set_usable(runtime, 4, usable);
	link_runtime_set_usable(runtime, 6, usable);
}
