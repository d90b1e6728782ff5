/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sticky.h - which link a client (or a client and a server) used last
 *
 * One table for all workers and groups, keyed by a 64-bit keyed hash of group,
 * source and, where asked, destination: neither protocol nor port, so that TCP 443
 * and QUIC 443 stay together. Bounded: set-associative, the oldest entry of a full
 * set goes first. Readers take no lock; a writer locks one set (one cache line)
 * for a few stores.
 */
#ifndef POLICY_STICKY_H
#define POLICY_STICKY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sticky;

/* Room for at least `entries`. NULL: out of memory. Memory is touched as it fills. */
struct sticky *sticky_new(size_t entries);
void sticky_free(struct sticky *sticky);

/* Link id last stored for `key`, or 0; refreshes its age (at most once a second and entry).
 * `now` in ms, `timeout` in ms. */
unsigned sticky_get(struct sticky *sticky, uint64_t key, uint64_t now, uint64_t timeout);
/* The same without the refresh, and `age` in ms. */
unsigned sticky_peek(const struct sticky *sticky, uint64_t key, uint64_t now, uint64_t timeout, uint64_t *age);
void sticky_put(struct sticky *sticky, uint64_t key, unsigned link_id, uint64_t now);

/* Entries younger than `timeout`; walks the table */
size_t sticky_count(const struct sticky *sticky, uint64_t now, uint64_t timeout);

#endif
