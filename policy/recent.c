/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/recent.c - the answers of the last seconds, of one worker
 */
#include "policy/recent.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#define WAYS 4

struct recent_entry {
	uint64_t key;
	uint32_t value; /* 0: free */
	uint32_t
		time; /* ms, wraps after 49 days: what is found then was the answer to the same tuple, and is checked */
};

struct set {
	_Alignas(64) struct recent_entry entries[WAYS];
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

static uint32_t age(const struct recent_entry *entry, uint64_t now)
{
	return (uint32_t)now - entry->time;
}

static uint32_t find_same(struct recent_entry *entries, uint64_t key, uint64_t now, struct recent_entry **place)
{
	for (unsigned i = 0; i < WAYS; i++) {
		if (entries[i].value && entries[i].key == key) {
			*place = &entries[i];
			return age(&entries[i], now) <= RECENT_LIFETIME_MS ? entries[i].value : 0;
		}
	}
	return 0;
}

/* How well a new answer goes here: in a free place, else in that of the oldest; of those alike the
 * first (a free one has no time, so free ones are alike) */
static inline uint64_t fitness(const struct recent_entry *entry, uint64_t now, unsigned i)
{
	return (uint64_t)!entry->value << 34 | ((uint64_t)age(entry, now) * WAYS + (WAYS - 1 - i));
}

uint32_t recent_find(struct recent *recent, uint64_t key, uint64_t now, struct recent_entry **place)
{
	struct recent_entry *entries = recent->sets[key >> recent->index_shift].entries;
	const bool same =
		(entries[0].key == key) | (entries[1].key == key) | (entries[2].key == key) | (entries[3].key == key);
	uint64_t most = fitness(&entries[0], now, 0);

	static_assert(WAYS == 4, "a place fits two bits");
	/* no branch: which one is the oldest cannot be predicted */
	for (unsigned i = 1; i < WAYS; i++) {
		const uint64_t next = fitness(&entries[i], now, i);

		most = next > most ? next : most;
	}
	*place = &entries[WAYS - 1 - most % WAYS];
	return same ? find_same(entries, key, now, place) : 0;
}

void recent_set(struct recent_entry *place, uint64_t key, uint32_t value, uint64_t now)
{
	*place = (struct recent_entry){ .key = key, .value = value, .time = (uint32_t)now };
}

uint32_t recent_get(struct recent *recent, uint64_t key, uint64_t now)
{
	struct recent_entry *place;

	return recent_find(recent, key, now, &place);
}

void recent_put(struct recent *recent, uint64_t key, uint32_t value, uint64_t now)
{
	struct recent_entry *place;

	recent_find(recent, key, now, &place);
	recent_set(place, key, value, now);
}
