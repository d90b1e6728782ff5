/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/recent.c - the answers of the last seconds, of one worker
 */
#include "policy/recent.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#define WAYS 4

struct entry {
	uint64_t key;
	uint32_t value; /* 0: free */
	uint32_t
		time; /* ms, wraps after 49 days: what is found then was the answer to the same tuple, and is checked */
};

struct set {
	_Alignas(64) struct entry entries[WAYS];
};

static_assert(sizeof(struct set) == 64, "a set is one cache line");

struct recent {
	void *memory; /* as allocated; sets points to the first whole line in it */
	struct set *sets;
	unsigned index_shift; /* high bits of the key choose the set */
};

struct recent *recent_new(unsigned log2_entries)
{
	const unsigned log2_sets = log2_entries > 3 ? log2_entries - 2 : 1;
	struct recent *recent = calloc(1, sizeof(*recent));

	if (!recent)
		return NULL;
	recent->index_shift = 64 - log2_sets;
	/* calloc() takes a block of this size fresh from the kernel: zero, and not touched until used */
	recent->memory = calloc(((size_t)1 << log2_sets) + 1, sizeof(struct set));
	if (!recent->memory) {
		free(recent);
		return NULL;
	}
	recent->sets = (struct set *)(((uintptr_t)recent->memory + 63) & ~(uintptr_t)63);
	return recent;
}

void recent_free(struct recent *recent)
{
	if (!recent)
		return;
	free(recent->memory);
	free(recent);
}

void recent_prefetch(const struct recent *recent, uint64_t key)
{
	__builtin_prefetch(&recent->sets[key >> recent->index_shift], 1);
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

/* How well a new answer goes here: in the place of its old one or a free one, else of the oldest */
static uint64_t place_fitness(const struct entry *entry, uint64_t key, uint64_t now)
{
	const bool is_free = !entry->value, same = !is_free & (entry->key == key);

	return (uint64_t)same << 33 | (uint64_t)is_free << 32 | (is_free ? 0 : age(entry, now));
}

void recent_put(struct recent *recent, uint64_t key, uint32_t value, uint64_t now)
{
	struct set *set = &recent->sets[key >> recent->index_shift];
	uint64_t most = 0;
	unsigned place = 0;

	for (unsigned i = 0; i < WAYS; i++) {
		const uint64_t fitness = place_fitness(&set->entries[i], key, now);

		/* no branch: which one is the oldest cannot be predicted */
		place = fitness > most ? i : place;
		most = fitness > most ? fitness : most;
	}
	set->entries[place] = (struct entry){ .key = key, .value = value, .time = (uint32_t)now };
}
