/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track_table.h - the flows of track.c: a hash table and a timer wheel over one array
 *
 * Flows are named by their index in the array, 0 is none. The array is reserved whole
 * and touched as it fills; a freed flow is the next to be used, so it stays dense.
 */
#ifndef POLICY_TRACK_TABLE_H
#define POLICY_TRACK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

enum track_state {
	TRACK_FREE,
	TRACK_DECIDED,
	TRACK_SYN, /* `opening` */
	TRACK_SENDING,
	TRACK_IDLE,
	TRACK_CLOSED,
};

struct track_entry {
	uint64_t key;
	uint32_t id; /* the kernel's; meaningless while TRACK_DECIDED */
	uint32_t chain; /* next in its bucket, or next free one */
	uint32_t next, previous; /* in its slot of the wheel; previous 0: the first there */
	uint32_t due; /* tick */
	uint32_t since; /* us, low 32 bits: decided or started */
	uint32_t packets; /* at the last look */
	uint16_t class;
	uint8_t link;
	uint8_t state; /* enum track_state */
	uint8_t round; /* of the look that saw it last */
	bool timed; /* in the wheel */
	bool looked; /* `packets` is known */
	bool unanswered; /* TCP: only the SYN is known of */
};

#define TRACK_SLOTS 2048
#define TRACK_TICK_LOG2 15 /* us: 33 ms; the wheel is 67 s round */

struct track_table {
	struct track_entry *entries; /* [0] is not used */
	uint32_t size, used, free; /* used: highest index that was ever taken + 1 */
	uint32_t *buckets;
	uint32_t bucket_mask;
	bool turns; /* since the first time that was told, which is where the wheel begins */
	uint32_t tick; /* it has been turned so far */
	uint32_t slots[TRACK_SLOTS];
};

bool track_table_init(struct track_table *table, uint32_t max);
void track_table_release(struct track_table *table);

/* 0: full. The entry is zeroed but for its key, and in its bucket. */
uint32_t track_table_add(struct track_table *table, uint64_t key);
void track_table_remove(struct track_table *table, uint32_t index);

/* Have what a look for this key will read on its way from memory: first the one, a while later the other */
void track_table_prefetch_bucket(const struct track_table *table, uint64_t key);
void track_table_prefetch_entry(const struct track_table *table, uint64_t key);

/* The entry of the kernel with this id, the newest decision without an entry; 0: none */
uint32_t track_table_find(const struct track_table *table, uint64_t key, uint32_t id);
uint32_t track_table_find_decided(const struct track_table *table, uint64_t key);

void track_table_set_timer(struct track_table *table, uint32_t index, uint64_t now, uint32_t ms);
void track_table_stop_timer(struct track_table *table, uint32_t index);
/* Turn the wheel to `now`: `each` gets every entry whose time has come, its timer stopped. It
 * may remove that entry, and no other. */
void track_table_turn(struct track_table *table, uint64_t now, void (*each)(void *data, uint32_t index), void *data);

#endif
