/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_groups.c - sections `group` and their tiers
 */
#include "policy/config_parse.h"

#define MAX_TIER 16
#define DEFAULT_SPILL_AT 80
#define DEFAULT_STICKY_TIMEOUT 600
#define MAX_STICKY_TIMEOUT (30 * 86400)

/* Members of one tier, from the key `links` of the group or of a section `tier` */
static void parse_tier(struct parse *parse, cfg_t *section, struct group_config *group, unsigned tier)
{
	for (size_t i = 0; i < section_count(section, "links"); i++) {
		const struct value *value = section_nth(section, "links", i);
		int link = config_link_by_name(parse->config, value->text);

		if (link < 0) {
			value_error(parse, "links", value, "the name of a link");
		} else if (group->tier[link] != 0) {
			value_error(parse, "links", value, "each link once in a group");
		} else {
			group->links |= UINT64_C(1) << link;
			group->tier[link] = (uint8_t)tier;
			group->rank[link] = (uint8_t)i;
			if (tier > group->n_tiers)
				group->n_tiers = tier;
		}
	}
}

static void parse_lower_tiers(struct parse *parse, cfg_t *section, struct group_config *group)
{
	for (unsigned i = 0; i < section_count(section, "tier"); i++) {
		cfg_t *tier = cfg_getnsec(section, "tier", i);
		const struct value *start = section_start(tier);
		char shown[SHOWN_MAX];
		uint64_t number;

		if (start == NULL)
			return;
		if (!number_parse(cfg_title(tier), &number) || number < 2 || number > MAX_TIER) {
			parse_error(parse, start->file, start->line,
				    "tier %s, expected 2 to %d (the group's own links are tier 1)",
				    text_shown(cfg_title(tier), shown), MAX_TIER);
			continue;
		}
		if (section_count(tier, "links") == 0)
			parse_error(parse, start->file, start->line, "tier %u has no links, expected links = { ... }",
				    (unsigned)number);
		parse_tier(parse, tier, group, (unsigned)number);
	}
}

static void parse_group(struct parse *parse, cfg_t *section, struct group_config *group)
{
	const char *stickies[STICKY_SOURCE_DESTINATION + 1];
	const char *schedulers[SCHEDULERS];
	const struct value *start = section_start(section);

	group->file = start->file;
	group->line = start->line;
	get_name(parse, section, group->name);
	if (section_count(section, "links") == 0)
		parse_error(parse, group->file, group->line, "no links, expected links = { ... } with at least one");
	parse_tier(parse, section, group, 1);
	parse_lower_tiers(parse, section, group);
	for (unsigned i = 0; i < SCHEDULERS; i++)
		schedulers[i] = scheduler_name((enum scheduler)i);
	for (unsigned i = 0; i <= STICKY_SOURCE_DESTINATION; i++)
		stickies[i] = sticky_name((enum sticky_kind)i);
	group->scheduler = get_word(parse, section, "scheduler", SCHED_LEAST_LOAD, schedulers, SCHEDULERS);
	group->spill_at = get_number(parse, section, "spill-at", DEFAULT_SPILL_AT, 1, 100);
	group->sticky =
		get_word(parse, section, "sticky", STICKY_SOURCE_DESTINATION, stickies, STICKY_SOURCE_DESTINATION + 1);
	group->sticky_timeout =
		get_seconds(parse, section, "sticky-timeout", DEFAULT_STICKY_TIMEOUT, MAX_STICKY_TIMEOUT);
}

void parse_groups(struct parse *parse, cfg_t *root)
{
	struct config *config = parse->config;
	size_t n = section_count(root, "group");

	if (n > CONFIG_MAX_GROUPS)
		parse_error(parse, config->file, 0, "%zu groups, expected at most %d", n, CONFIG_MAX_GROUPS);
	for (size_t i = 0; i < n && i < CONFIG_MAX_GROUPS; i++) {
		cfg_t *section = cfg_getnsec(root, "group", (unsigned)i);
		struct group_config *group;

		if (section_start(section) == NULL)
			return; /* no memory was left, and that is reported */
		group = parse_push(parse, &config->groups, &config->n_groups, sizeof(*group));
		if (group == NULL)
			return;
		group->slot = (unsigned)i;
		parse_where(parse, "group", cfg_title(section));
		parse_group(parse, section, group);
	}
	parse_where(parse, NULL, NULL);
}
