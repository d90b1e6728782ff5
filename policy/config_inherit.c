/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_inherit.c - may a new configuration replace the running one?
 */
#include <stdio.h>
#include <string.h>

#include "policy/config_parse.h"

/* What a reload cannot change, and what can instead */
static void refuse(struct config_messages *errors, const struct config *next, const char *key, const char *from,
		   const char *to)
{
	messages_add(errors,
		     "%s: %s changed from %s to %s, expected no change: that needs a restart of rules and daemon",
		     next->file, key, from, to);
}

static void same_number(struct config_messages *errors, const struct config *next, const char *key, uint32_t from,
			uint32_t to)
{
	const char *format = strcmp(key, "mask") == 0 ? "0x%x" : "%u";
	char old[16], new[16];

	if (from == to)
		return;
	if (format[0] == '0') {
		snprintf(old, sizeof(old), "0x%x", from);
		snprintf(new, sizeof(new), "0x%x", to);
	} else {
		snprintf(old, sizeof(old), "%u", from);
		snprintf(new, sizeof(new), "%u", to);
	}
	refuse(errors, next, key, old, new);
}

static void same_text(struct config_messages *errors, const struct config *next, const char *key, const char *from,
		      const char *to)
{
	if (from == NULL || from[0] == '\0')
		from = "nothing";
	if (to == NULL || to[0] == '\0')
		to = "nothing";
	if (strcmp(from, to) != 0)
		refuse(errors, next, key, from, to);
}

static void same_link(struct config_messages *errors, const struct link_config *next, const struct link_config *running)
{
	static const char advice[] = "expected no change: that needs a restart of rules and daemon";

	if (next->id != running->id)
		messages_add(errors, "%s:%u: link \"%s\": id changed from %u to %u, %s", next->file, next->line,
			     next->name, running->id, next->id, advice);
	if (strcmp(next->interface, running->interface) != 0)
		messages_add(errors, "%s:%u: link \"%s\": interface changed from %s to %s, %s", next->file, next->line,
			     next->name, running->interface, next->interface, advice);
	if (next->table != running->table)
		messages_add(errors, "%s:%u: link \"%s\": table changed from %u to %u, %s", next->file, next->line,
			     next->name, running->table, next->table, advice);
}

static void same_links(struct config_messages *errors, const struct config *next, const struct config *running)
{
	for (size_t i = 0; i < next->n_links; i++) {
		const struct link_config *link = &next->links[i];
		int old = config_link_by_name(running, link->name);

		if (old >= 0)
			same_link(errors, link, &running->links[old]);
		else
			messages_add(errors,
				     "%s:%u: link \"%s\" is new, expected the running links: that needs a restart of "
				     "rules and daemon",
				     link->file, link->line, link->name);
	}
	for (size_t i = 0; i < running->n_links; i++)
		if (config_link_by_name(next, running->links[i].name) < 0)
			messages_add(errors,
				     "%s: link \"%s\" is gone, expected the running links: that needs a restart of "
				     "rules and daemon",
				     next->file, running->links[i].name);
}

/* Groups keep the slots of their namesakes; new ones take slots that are free in both, so
 * that nothing remembered of another group is taken for theirs, then any free one */
static void inherit_slots(struct config *next, const struct config *running)
{
	bool used[CONFIG_MAX_GROUPS] = { false }, was_used[CONFIG_MAX_GROUPS] = { false };
	bool placed[CONFIG_MAX_GROUPS] = { false };

	for (size_t i = 0; i < running->n_groups; i++)
		was_used[running->groups[i].slot] = true;
	for (size_t i = 0; i < next->n_groups; i++) {
		int old = config_group_by_name(running, next->groups[i].name);

		if (old < 0)
			continue;
		next->groups[i].slot = running->groups[old].slot;
		used[next->groups[i].slot] = placed[i] = true;
	}
	for (size_t i = 0; i < next->n_groups; i++) {
		unsigned slot = 0;

		if (placed[i])
			continue;
		while (slot < CONFIG_MAX_GROUPS && (used[slot] || was_used[slot]))
			slot++;
		if (slot == CONFIG_MAX_GROUPS)
			for (slot = 0; used[slot];)
				slot++;
		next->groups[i].slot = slot;
		used[slot] = true;
	}
}

bool config_inherit(struct config *next, const struct config *running, struct config_messages *errors)
{
	size_t before = errors->n;

	same_number(errors, next, "mask", running->mask, next->mask);
	same_number(errors, next, "queue", running->queue_first, next->queue_first);
	same_number(errors, next, "queues", running->queues, next->queues);
	same_number(errors, next, "queue-length", running->queue_length, next->queue_length);
	same_number(errors, next, "sticky-entries", running->sticky_entries, next->sticky_entries);
	same_text(errors, next, "socket", running->socket, next->socket);
	same_text(errors, next, "socket-group", running->socket_group, next->socket_group);
	same_text(errors, next, "user", running->user, next->user);
	same_text(errors, next, "run-directory", running->run_directory, next->run_directory);
	same_text(errors, next, "state-directory", running->state_directory, next->state_directory);
	same_links(errors, next, running);
	if (errors->n > before)
		return false;
	inherit_slots(next, running);
	return true;
}
