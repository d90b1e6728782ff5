/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sticky.c - which link a client used last, for all workers
 *
 * Theory of operation. A set is one cache line: a sequence number and five entries.
 * The sequence is odd while a writer is inside; a writer takes it from even to
 * odd by compare-and-swap, so there is one at a time. A reader copies the
 * entry it found and then looks at the sequence again: unchanged and even means that
 * what it copied belongs together. The entry's fields are stored with release and
 * loaded with acquire, so a reader that saw any new field also sees the odd
 * sequence that came before it; no fence is needed.
 *
 * A reader that keeps meeting writers gives up and reports a miss: the flow is
 * scheduled instead, which is correct and bounded. A writer that meets another
 * waits for it: a few stores. Time is kept in ticks of 16 ms so that 32 bits last
 * for two years; an entry older than half of that may be taken for a young one.
 */
#include "policy/sticky.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WAYS 5
#define TICK_SHIFT 4 /* 16 ms */
#define REFRESH_TICKS (1000 >> TICK_SHIFT)
#define READ_TRIES 16

struct entry {
	_Atomic uint32_t tag; /* low half of the key */
	_Atomic uint32_t tick; /* of the last use */
	_Atomic uint32_t link_id; /* 0: free */
};

struct set {
	_Alignas(64) _Atomic uint32_t sequence;
	struct entry entries[WAYS];
};

static_assert(sizeof(struct set) == 64, "a set is one cache line");

struct sticky {
	void *memory; /* as allocated; sets points to the first whole line in it */
	struct set *sets;
	unsigned index_shift; /* high bits of the key choose the set */
	size_t n_sets;
};

/* What a reader copied out of a set */
struct found {
	struct entry *entry; /* NULL: no such key */
	uint32_t tick, link_id;
};

struct sticky *sticky_new(size_t entries)
{
	struct sticky *sticky = calloc(1, sizeof(*sticky));
	unsigned log2_sets = 1;

	if (!sticky)
		return NULL;
	/* sets fill unevenly: one way of five is spare */
	while (log2_sets < 32 && (size_t)(WAYS - 1) << log2_sets < entries)
		log2_sets++;
	sticky->n_sets = (size_t)1 << log2_sets;
	sticky->index_shift = 64 - log2_sets;
	/* calloc() takes a block of this size fresh from the kernel: zero, and not touched until used */
	sticky->memory = calloc(sticky->n_sets + 1, sizeof(struct set));
	if (!sticky->memory) {
		free(sticky);
		return NULL;
	}
	sticky->sets = (struct set *)(((uintptr_t)sticky->memory + 63) & ~(uintptr_t)63);
	return sticky;
}

void sticky_free(struct sticky *sticky)
{
	if (!sticky)
		return;
	free(sticky->memory);
	free(sticky);
}

static struct set *set_of(const struct sticky *sticky, uint64_t key)
{
	return &sticky->sets[key >> sticky->index_shift];
}

static uint32_t ticks(uint64_t ms)
{
	return (uint32_t)(ms >> TICK_SHIFT);
}

/* Workers read their clocks apart: an entry from a moment ahead is new */
static uint32_t age_ticks(uint32_t now, uint32_t tick)
{
	const int32_t age = (int32_t)(now - tick);

	return age < 0 ? 0 : (uint32_t)age;
}

static uint32_t load(const _Atomic uint32_t *field)
{
	return atomic_load_explicit(field, memory_order_acquire);
}

static void store(_Atomic uint32_t *field, uint32_t value)
{
	atomic_store_explicit(field, value, memory_order_release);
}

static struct found search(struct set *set, uint32_t tag)
{
	struct found found = { .entry = NULL };

	for (unsigned i = 0; i < WAYS; i++) {
		struct entry *entry = &set->entries[i];

		if (load(&entry->tag) != tag)
			continue;
		found.link_id = load(&entry->link_id);
		if (!found.link_id)
			continue;
		found.tick = load(&entry->tick);
		found.entry = entry;
		break;
	}
	return found;
}

static struct found search_consistent(struct set *set, uint32_t tag)
{
	for (unsigned i = 0; i < READ_TRIES; i++) {
		const uint32_t before = load(&set->sequence);
		const struct found found = search(set, tag);

		if (!(before & 1) && load(&set->sequence) == before)
			return found;
	}
	return (struct found){ .entry = NULL };
}

/* ---- writers ---- */

static void lock(struct set *set)
{
	uint32_t even;

	do {
		even = atomic_load_explicit(&set->sequence, memory_order_relaxed) & ~UINT32_C(1);
	} while (!atomic_compare_exchange_weak_explicit(&set->sequence, &even, even + 1, memory_order_acquire,
							memory_order_relaxed));
}

static void unlock(struct set *set)
{
	store(&set->sequence, atomic_load_explicit(&set->sequence, memory_order_relaxed) + 1);
}

/* The entry of this tag, else a free one, else the oldest; the set is locked */
static struct entry *place_for(struct set *set, uint32_t tag, uint32_t now)
{
	const struct found found = search(set, tag);
	struct entry *oldest = &set->entries[0];

	if (found.entry)
		return found.entry;
	for (unsigned i = 0; i < WAYS; i++) {
		struct entry *entry = &set->entries[i];

		if (!load(&entry->link_id))
			return entry;
		if (age_ticks(now, load(&entry->tick)) > age_ticks(now, load(&oldest->tick)))
			oldest = entry;
	}
	return oldest;
}

void sticky_put(struct sticky *sticky, uint64_t key, unsigned link_id, uint64_t now)
{
	struct set *set = set_of(sticky, key);
	struct entry *entry;

	lock(set);
	entry = place_for(set, (uint32_t)key, ticks(now));
	store(&entry->tag, (uint32_t)key);
	store(&entry->tick, ticks(now));
	store(&entry->link_id, link_id);
	unlock(set);
}

/* The entry may have gone to another key since it was found */
static void refresh(struct set *set, uint32_t tag, uint32_t now)
{
	struct found found;

	lock(set);
	found = search(set, tag);
	if (found.entry)
		store(&found.entry->tick, now);
	unlock(set);
}

/* ---- readers ---- */

unsigned sticky_peek(const struct sticky *sticky, uint64_t key, uint64_t now, uint64_t timeout, uint64_t *age)
{
	const struct found found = search_consistent(set_of(sticky, key), (uint32_t)key);

	if (!found.entry)
		return 0;
	*age = (uint64_t)age_ticks(ticks(now), found.tick) << TICK_SHIFT;
	return *age < timeout ? found.link_id : 0;
}

unsigned sticky_get(struct sticky *sticky, uint64_t key, uint64_t now, uint64_t timeout)
{
	uint64_t age;
	const unsigned link_id = sticky_peek(sticky, key, now, timeout, &age);

	if (link_id && age >= (uint64_t)REFRESH_TICKS << TICK_SHIFT)
		refresh(set_of(sticky, key), (uint32_t)key, ticks(now));
	return link_id;
}

size_t sticky_count(const struct sticky *sticky, uint64_t now, uint64_t timeout)
{
	size_t count = 0;

	for (size_t i = 0; i < sticky->n_sets; i++) {
		for (unsigned way = 0; way < WAYS; way++) {
			const struct entry *entry = &sticky->sets[i].entries[way];
			const uint64_t age = (uint64_t)age_ticks(ticks(now), load(&entry->tick)) << TICK_SHIFT;

			count += load(&entry->link_id) && age < timeout;
		}
	}
	return count;
}
