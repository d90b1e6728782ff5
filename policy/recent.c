/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/recent.c - the answers of the last seconds, of one worker
 */
#include "policy/recent.h"

#include <stdlib.h>

#define WAYS 4

struct entry {
	uint64_t key;
	uint32_t value; /* 0: free */
	uint32_t
		time; /* ms, wraps after 49 days: what is found then was the answer to the same tuple, and is checked */
};

struct set {
	struct entry entries[WAYS];
};

struct recent {
	unsigned index_shift; /* high bits of the key choose the set */
	struct set sets[];
};

struct recent *recent_new(unsigned log2_entries)
{
	const unsigned log2_sets = log2_entries > 3 ? log2_entries - 2 : 1;
	struct recent *recent = calloc(1, sizeof(*recent) + (sizeof(struct set) << log2_sets));

	if (recent)
		recent->index_shift = 64 - log2_sets;
	return recent;
}

void recent_free(struct recent *recent)
{
	free(recent);
}

static uint32_t age(const struct entry *entry, uint64_t now)
{
	return (uint32_t)now - entry->time;
}

uint32_t recent_get(const struct recent *recent, uint64_t key, uint64_t now)
{
	const struct set *set = &recent->sets[key >> recent->index_shift];

	for (unsigned i = 0; i < WAYS; i++) {
		const struct entry *entry = &set->entries[i];

		if (entry->value && entry->key == key)
			return age(entry, now) <= RECENT_LIFETIME_MS ? entry->value : 0;
	}
	return 0;
}

void recent_put(struct recent *recent, uint64_t key, uint32_t value, uint64_t now)
{
	struct set *set = &recent->sets[key >> recent->index_shift];
	struct entry *place = &set->entries[0];

	for (unsigned i = 0; i < WAYS; i++) {
		struct entry *entry = &set->entries[i];

		if (!entry->value || entry->key == key) {
			place = entry;
			break;
		}
		if (age(entry, now) > age(place, now))
			place = entry;
	}
	*place = (struct entry){ .key = key, .value = value, .time = (uint32_t)now };
}
