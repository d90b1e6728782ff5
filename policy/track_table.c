/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track_table.c - a hash table and a timer wheel over one array
 */
#include "policy/track_table.h"

#include <stdlib.h>
#include <string.h>

/* ---- array and hash ---- */

bool track_table_init(struct track_table *table, uint32_t max)
{
	uint32_t buckets = 1024;

	memset(table, 0, sizeof(*table));
	while (buckets < max && buckets < UINT32_C(1) << 31)
		buckets *= 2;
	table->size = max + 1;
	table->used = 1;
	table->bucket_mask = buckets - 1;
	/* large blocks come as untouched pages of zeros */
	table->entries = calloc((size_t)table->size, sizeof(*table->entries));
	table->buckets = calloc(buckets, sizeof(*table->buckets));
	return table->entries && table->buckets;
}

void track_table_release(struct track_table *table)
{
	free(table->entries);
	free(table->buckets);
}

static uint32_t *bucket_of(const struct track_table *table, uint64_t key)
{
	return &table->buckets[key & table->bucket_mask];
}

uint32_t track_table_add(struct track_table *table, uint64_t key)
{
	uint32_t *bucket = bucket_of(table, key);
	uint32_t index = table->free;

	if (index) {
		table->free = table->entries[index].chain;
		/* the next one's turn comes soon */
		__builtin_prefetch(&table->entries[table->free], 1);
	} else if (table->used < table->size) {
		index = table->used++;
	} else {
		return 0;
	}
	table->entries[index] = (struct track_entry){ .key = key, .chain = *bucket };
	*bucket = index;
	return index;
}

void track_table_remove(struct track_table *table, uint32_t index)
{
	struct track_entry *entry = &table->entries[index];
	uint32_t *link = bucket_of(table, entry->key);

	track_table_stop_timer(table, index);
	while (*link != index)
		link = &table->entries[*link].chain;
	*link = entry->chain;
	entry->state = TRACK_FREE;
	entry->chain = table->free;
	table->free = index;
}

void track_table_prefetch_bucket(const struct track_table *table, uint64_t key)
{
	__builtin_prefetch(bucket_of(table, key), 1);
}

void track_table_prefetch_entry(const struct track_table *table, uint64_t key)
{
	const uint32_t index = *bucket_of(table, key);

	if (index)
		__builtin_prefetch(&table->entries[index], 1);
}

uint32_t track_table_find(const struct track_table *table, uint64_t key, uint32_t id)
{
	uint32_t index = *bucket_of(table, key);

	for (; index; index = table->entries[index].chain) {
		const struct track_entry *entry = &table->entries[index];

		if (entry->key == key && entry->id == id && entry->state != TRACK_DECIDED)
			break;
	}
	return index;
}

uint32_t track_table_find_decided(const struct track_table *table, uint64_t key)
{
	uint32_t index = *bucket_of(table, key);

	for (; index; index = table->entries[index].chain) {
		const struct track_entry *entry = &table->entries[index];

		if (entry->key == key && entry->state == TRACK_DECIDED)
			break;
	}
	return index;
}

/* ---- wheel ---- */

static uint32_t tick_of(uint64_t us)
{
	return (uint32_t)(us >> TRACK_TICK_LOG2);
}

/* Ticks since the machine started may be more than half of what fits; only differences mean something */
static void begin_turning(struct track_table *table, uint64_t now)
{
	if (table->turns)
		return;
	table->turns = true;
	table->tick = tick_of(now);
}

void track_table_stop_timer(struct track_table *table, uint32_t index)
{
	struct track_entry *entry = &table->entries[index];

	if (!entry->timed)
		return;
	if (entry->previous)
		table->entries[entry->previous].next = entry->next;
	else
		table->slots[entry->due % TRACK_SLOTS] = entry->next;
	if (entry->next)
		table->entries[entry->next].previous = entry->previous;
	entry->timed = false;
}

void track_table_set_timer(struct track_table *table, uint32_t index, uint64_t now, uint32_t ms)
{
	struct track_entry *entry = &table->entries[index];
	uint32_t *slot;

	track_table_stop_timer(table, index);
	begin_turning(table, now);
	/* never this tick: it may have been visited already */
	entry->due = tick_of(now + UINT64_C(1000) * ms) + 1;
	/* nor one before: what is heard now may have happened a while ago, and its time be over */
	if ((int32_t)(entry->due - table->tick) <= 0)
		entry->due = table->tick + 1;
	slot = &table->slots[entry->due % TRACK_SLOTS];
	entry->previous = 0;
	entry->next = *slot;
	if (*slot)
		table->entries[*slot].previous = index;
	*slot = index;
	entry->timed = true;
}

void track_table_turn(struct track_table *table, uint64_t now, void (*each)(void *data, uint32_t index), void *data)
{
	const uint32_t goal = tick_of(now);
	uint32_t ticks;

	begin_turning(table, now);
	ticks = goal - table->tick;
	if ((int32_t)ticks <= 0)
		return;
	/* after a long stop every slot is looked at once */
	if (ticks > TRACK_SLOTS)
		ticks = TRACK_SLOTS;
	for (uint32_t tick = goal - ticks + 1; ticks; ticks--, tick++) {
		uint32_t next;

		for (uint32_t i = table->slots[tick % TRACK_SLOTS]; i; i = next) {
			next = table->entries[i].next;
			__builtin_prefetch(&table->entries[next], 1);
			if ((int32_t)(goal - table->entries[i].due) < 0)
				continue;
			track_table_stop_timer(table, i);
			each(data, i);
		}
	}
	table->tick = goal;
}
