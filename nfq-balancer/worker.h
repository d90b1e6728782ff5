/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/worker.h - one thread per queue: packets in, verdicts out
 *
 * A worker receives a batch, decides each packet, appends each verdict to one
 * buffer and sends that with one system call. No allocation, no lock, no log, one
 * clock reading per batch. Everything it writes is its own, and others only read it, but
 * for the sticky table, which all workers share.
 */
#ifndef NFQB_WORKER_H
#define NFQB_WORKER_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "conntrack/mark.h"
#include "nfq-balancer/steered.h"
#include "policy/decide.h"
#include "policy/decode.h"

#define WORKER_MAX_RULES 16384 /* counted one by one; further rules are counted in the last place */

/* Written by the worker alone (relaxed), read by the control thread */
struct worker_counters {
	_Alignas(64) _Atomic uint64_t packets; /* queued packets seen */
	_Atomic uint64_t batches;
	_Atomic uint64_t errors; /* messages or verdicts the kernel refused */
	_Atomic uint64_t actions[DECISION_ACTIONS];
	_Atomic uint64_t reasons[DECISION_REASONS];
	_Atomic uint64_t undecoded[DECODE_RESULTS]; /* packets left to the fallback, by why */
	_Atomic uint64_t links[CONFIG_MAX_LINKS]; /* new flows (repeats not counted) by link index */
	_Atomic uint64_t rest[CONFIG_MAX_LINKS]; /* of these, those of the final rule */
	_Atomic uint64_t snapshot; /* number of the one whose rules are counted: who sleeps has an older one */
	_Atomic uint64_t rules[WORKER_MAX_RULES]; /* new flows by rule index of that policy */
};

/* The last decisions, newest overwrites oldest: a ring with a sequence per slot */
struct decision_record {
	uint64_t number; /* 1.. per worker */
	uint64_t time; /* ns, CLOCK_MONOTONIC of the batch */
	struct flow flow;
	struct flow_meta meta;
	struct decision decision;
	uint16_t worker;
	uint32_t snapshot; /* number of the one whose rules and groups `decision` names, modulo 2^32 */
};

#define WORKER_RING 4096

#define RECORD_WORDS (sizeof(struct decision_record) / sizeof(uint64_t))

struct decision_slot {
	_Atomic uint64_t sequence; /* 2n: holds record n; odd: being written */
	_Atomic uint64_t words[RECORD_WORDS]; /* a struct decision_record, copied word by word */
};

struct decision_ring {
	_Alignas(64) _Atomic uint64_t head; /* number of the newest record */
	struct decision_slot slot[WORKER_RING];
};

struct worker;
struct snapshot;
struct queue;

/* What all workers share. The pointed-to things outlive every worker. */
struct worker_shared {
	_Alignas(64) struct snapshot *_Atomic snapshot; /* published by the control thread (RCU) */
	const struct link_runtime *runtime;
	struct sticky *sticky;
	struct load *load;
	uint64_t hash_key[2];
	bool verdict_carries_ct; /* append NFQA_CT */
};

/* Worker `index` of all. Takes `queue`, also on failure (NULL: out of memory). The thread
 * starts with worker_start(). */
struct worker *worker_new(struct queue *queue, unsigned index, struct worker_shared *shared);
/* 0, or an errno value */
int worker_start(struct worker *worker);
/* Orderly end: no new packets, decide those that wait, leave. Returns when the thread has ended. */
void worker_stop(struct worker *worker);
void worker_free(struct worker *worker);
/* Let the running thread use these processors: 0, or an errno value. Control thread. */
int worker_pin(struct worker *worker, const cpu_set_t *cpus);

/* queue_set_fail_open() of its queue: 0, or an errno value. Control thread. */
int worker_set_fail_open(struct worker *worker, bool fail_open);

/* Did the thread end by itself because its socket broke? Any thread. */
bool worker_failed(const struct worker *worker);
/* The state decisions of this worker come from, for `explain`: may be read from another
 * thread only as a hint, scheduler values may be a moment old */
const struct decider *worker_decider(const struct worker *worker);

/* Copy record `number` of this worker. False: not there yet, or overwritten. Any thread. */
bool worker_record(const struct worker *worker, uint64_t number, struct decision_record *out);
uint64_t worker_newest(const struct worker *worker);
/* What it has steered; the control thread is the ring's one consumer */
struct steered_ring *worker_steered(struct worker *worker);
const struct worker_counters *worker_counters(const struct worker *worker);
unsigned worker_queue(const struct worker *worker);

#endif
