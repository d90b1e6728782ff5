/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config.c - the mark's arithmetic, lookups and names of a configuration
 *
 * Pure: the decision path uses these too. Reading and printing files is config_*.c.
 */
#include <stdlib.h>
#include <string.h>

#include "policy/config.h"

static const char *const scheduler_names[] = {
	[SCHED_WRR] = "wrr",
	[SCHED_HASH] = "hash",
	[SCHED_LEAST_LOAD] = "least-load",
	[SCHED_SPILLOVER] = "spillover",
	[SCHED_LATENCY] = "latency",
};
_Static_assert(sizeof(scheduler_names) / sizeof(scheduler_names[0]) == SCHEDULERS, "a name for each scheduler");

static const char *const sticky_names[] = {
	[STICKY_NONE] = "none",
	[STICKY_SOURCE] = "source",
	[STICKY_SOURCE_DESTINATION] = "source-destination",
};
_Static_assert(sizeof(sticky_names) / sizeof(sticky_names[0]) == STICKY_SOURCE_DESTINATION + 1,
	       "a name for each stickiness");

unsigned config_mark_shift(uint32_t mask)
{
	return mask == 0 ? 0 : (unsigned)__builtin_ctz(mask);
}

uint32_t config_mark_settled(uint32_t mask)
{
	return mask == 0 ? 0 : UINT32_C(1) << (31 - __builtin_clz(mask));
}

/* The ids' part of the mask, moved down to bit 0 */
static uint32_t id_mask(uint32_t mask)
{
	return (mask & ~config_mark_settled(mask)) >> config_mark_shift(mask);
}

unsigned config_max_id(uint32_t mask)
{
	uint32_t ids = id_mask(mask);

	/* the two highest values are `main` and `reject`, the lowest is "no link" */
	return ids > 2 ? ids - 2 : 0;
}

uint32_t config_mark_link(uint32_t mask, unsigned id)
{
	return (uint32_t)id << config_mark_shift(mask) & mask & ~config_mark_settled(mask);
}

uint32_t config_mark_main(uint32_t mask)
{
	return mask;
}

uint32_t config_mark_reject(uint32_t mask)
{
	return mask & (mask - 1);
}

unsigned config_mark_id(uint32_t mask, uint32_t mark)
{
	uint32_t id = mark >> config_mark_shift(mask) & id_mask(mask);

	return id <= config_max_id(mask) ? id : 0;
}

int config_link_by_name(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_links; i++)
		if (strcmp(config->links[i].name, name) == 0)
			return (int)i;
	return -1;
}

int config_link_by_id(const struct config *config, unsigned id)
{
	for (size_t i = 0; i < config->n_links; i++)
		if (config->links[i].id == id)
			return (int)i;
	return -1;
}

int config_group_by_name(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_groups; i++)
		if (strcmp(config->groups[i].name, name) == 0)
			return (int)i;
	return -1;
}

const char *scheduler_name(enum scheduler scheduler)
{
	return scheduler_names[scheduler];
}

int scheduler_parse(const char *name)
{
	for (int i = 0; i < SCHEDULERS; i++)
		if (strcmp(scheduler_names[i], name) == 0)
			return i;
	return -1;
}

const char *sticky_name(enum sticky_kind kind)
{
	return sticky_names[kind];
}

static void rule_free(struct rule_config *rule)
{
	free(rule->protocols);
	free(rule->dports);
	free(rule->sports);
	free(rule->sources);
	free(rule->destinations);
	free(rule->ifaces);
	free(rule->dscps);
	free(rule->marks);
}

static void strings_free(char **strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(strings[i]);
	free(strings);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->n_links; i++)
		free(config->links[i].prefixes6);
	for (size_t i = 0; i < config->n_rules; i++)
		rule_free(&config->rules[i]);
	free(config->links);
	free(config->groups);
	free(config->rules);
	strings_free(config->lan, config->n_lan);
	strings_free(config->ifaces, config->n_ifaces);
	strings_free(config->helpers, config->n_helpers);
	free(config->pin.cpus);
	strings_free(config->files, config->n_files);
	free(config->socket);
	free(config->socket_group);
	free(config->user);
	free(config->run_directory);
	free(config->state_directory);
	free(config->file);
	free(config);
}
