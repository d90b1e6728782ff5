/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/runtime.h - what changes about links and groups while the daemon runs
 *
 * One writer (the control thread), any number of readers (workers), relaxed
 * atomics: a decision may see a weight that is a microsecond old, never a torn one.
 * Indexed like config.links; the set of links does not change by reload.
 *
 * Workers keep what follows from these values (policy/sched_lineup.c, sched_room.c) as long as the
 * generations stay, so these change by the functions here alone.
 */
#ifndef POLICY_RUNTIME_H
#define POLICY_RUNTIME_H

#include <stdatomic.h>
#include <stdint.h>

#include "policy/config.h"

#define CAPACITY_UNIT 10000 /* bit/s */

struct link_runtime {
	_Alignas(64) _Atomic uint64_t usable[2]; /* IPv4, IPv6; bit i: links[i] takes new flows of that family */
	_Atomic uint32_t generation; /* of weights and capacities: another one when any has changed */
	_Atomic uint32_t measured; /* generation of what is measured */
	uint32_t id[CONFIG_MAX_LINKS]; /* of links[i]; never changes: hashing must not depend on the order of links */
	_Atomic uint32_t weight[CONFIG_MAX_LINKS];
	_Atomic uint32_t capacity[CONFIG_MAX_LINKS]; /* in CAPACITY_UNITs, download before upload; 0: not stated */
	_Atomic uint8_t scheduler[CONFIG_MAX_GROUPS]; /* enum scheduler, by group slot */
	/* measured; 0: not known */
	_Atomic uint32_t rtt_us[CONFIG_MAX_LINKS]; /* round trip of TCP handshakes */
	_Atomic uint64_t bits_down[CONFIG_MAX_LINKS]; /* bit/s that arrive, over the last seconds */
	_Atomic uint32_t sending[CONFIG_MAX_LINKS]; /* load_sending() when bits_down was written */
};

/* Weights and schedulers from the configuration, every link usable */
void link_runtime_init(struct link_runtime *runtime, const struct config *config);

/* Capacities as this configuration states them: at the start and after each reload */
void link_runtime_set_capacities(struct link_runtime *runtime, const struct config *config);

static inline uint64_t link_runtime_usable(const struct link_runtime *runtime, int family)
{
	return atomic_load_explicit(&runtime->usable[family == 6], memory_order_relaxed);
}

static inline void link_runtime_set_usable(struct link_runtime *runtime, int family, uint64_t links)
{
	atomic_store_explicit(&runtime->usable[family == 6], links, memory_order_relaxed);
}

struct link_measured {
	uint32_t rtt_us;
	uint64_t bits_down;
	uint32_t sending;
};

/* See link_runtime: what was measured of this link, about once a second */
static inline void link_runtime_set_measured(struct link_runtime *runtime, unsigned link,
					     const struct link_measured *measured)
{
	const uint32_t before = atomic_load_explicit(&runtime->measured, memory_order_relaxed);

	atomic_store_explicit(&runtime->rtt_us[link], measured->rtt_us, memory_order_relaxed);
	atomic_store_explicit(&runtime->bits_down[link], measured->bits_down, memory_order_relaxed);
	atomic_store_explicit(&runtime->sending[link], measured->sending, memory_order_relaxed);
	atomic_store_explicit(&runtime->measured, before + 1, memory_order_release);
}

/* Before the values are read: see link_runtime_generation() */
static inline uint32_t link_runtime_measured_generation(const struct link_runtime *runtime)
{
	return atomic_load_explicit(&runtime->measured, memory_order_acquire);
}

static inline struct link_measured link_runtime_measured(const struct link_runtime *runtime, unsigned link)
{
	return (struct link_measured){
		.rtt_us = atomic_load_explicit(&runtime->rtt_us[link], memory_order_relaxed),
		.bits_down = atomic_load_explicit(&runtime->bits_down[link], memory_order_relaxed),
		.sending = atomic_load_explicit(&runtime->sending[link], memory_order_relaxed),
	};
}

static inline uint32_t link_runtime_generation(const struct link_runtime *runtime)
{
	return atomic_load_explicit(&runtime->generation, memory_order_acquire);
}

/* One writer. Who sees the new generation sees what was written before; who reads a value
 * between the two writes looks once more for nothing. */
static inline void link_runtime_changed(struct link_runtime *runtime)
{
	const uint32_t before = atomic_load_explicit(&runtime->generation, memory_order_relaxed);

	atomic_store_explicit(&runtime->generation, before + 1, memory_order_release);
}

static inline void link_runtime_set_weight(struct link_runtime *runtime, unsigned link, uint32_t weight)
{
	atomic_store_explicit(&runtime->weight[link], weight, memory_order_relaxed);
	link_runtime_changed(runtime);
}

static inline void link_runtime_set_capacity(struct link_runtime *runtime, unsigned link, uint32_t units)
{
	atomic_store_explicit(&runtime->capacity[link], units, memory_order_relaxed);
	link_runtime_changed(runtime);
}

static inline uint32_t link_runtime_weight(const struct link_runtime *runtime, unsigned link)
{
	return atomic_load_explicit(&runtime->weight[link], memory_order_relaxed);
}

static inline uint32_t link_runtime_capacity(const struct link_runtime *runtime, unsigned link)
{
	return atomic_load_explicit(&runtime->capacity[link], memory_order_relaxed);
}

static inline void link_runtime_set_scheduler(struct link_runtime *runtime, unsigned slot, enum scheduler scheduler)
{
	atomic_store_explicit(&runtime->scheduler[slot], (uint8_t)scheduler, memory_order_relaxed);
}

static inline enum scheduler link_runtime_scheduler(const struct link_runtime *runtime, unsigned slot)
{
	return (enum scheduler)atomic_load_explicit(&runtime->scheduler[slot], memory_order_relaxed);
}

#endif
