/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/recent.h - the answers of the last seconds: same tuple, same answer
 *
 * Two packets of one new flow can be queued together (a SYN sent again,
 * A and AAAA from one socket). The kernel's queue choice hashes addresses and
 * protocol, so both reach the same worker: one table per worker, not shared.
 * Direct sets of four, oldest out first, fixed memory.
 */
#ifndef POLICY_RECENT_H
#define POLICY_RECENT_H

#include <stdint.h>

struct recent;

#define RECENT_LIFETIME_MS 3000

struct recent *recent_new(unsigned log2_entries); /* NULL: out of memory */
void recent_free(struct recent *recent);

/* A look-up of `key` is coming: let its set be fetched meanwhile */
void recent_prefetch(const struct recent *recent, uint64_t key);

/* The value stored for `key` at most RECENT_LIFETIME_MS ago, or 0. `now` in ms. */
uint32_t recent_get(struct recent *recent, uint64_t key, uint64_t now);
void recent_put(struct recent *recent, uint64_t key, uint32_t value, uint64_t now);

/* Both with one look at the set: recent_find() is recent_get(), and tells where recent_put() would
 * put a value; recent_set() does so, if nothing was put in between */
struct recent_entry;
uint32_t recent_find(struct recent *recent, uint64_t key, uint64_t now, struct recent_entry **place);
void recent_set(struct recent_entry *place, uint64_t key, uint32_t value, uint64_t now);

#endif
