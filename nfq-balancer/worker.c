/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/worker.c - the loop from queued packets to verdicts
 *
 * Theory of operation. One batch: receive, take the published snapshot, read the
 * clock once, then per packet decode, decide, append the verdict; one send for all. What
 * only others read (counters, records) is written after it, when nobody waits any more.
 * Between batches the thread is offline for RCU (QSBR), so a reload never waits for
 * traffic and traffic never waits for a reload. Counters and the ring of records
 * are written here alone; readers copy them with relaxed loads and a sequence.
 *
 * To sleep and to be woken takes longer than a decision. With `spin` the thread looks
 * at the queue for a while before it sleeps, but only while packets have lately come within
 * that time: on an idle router it sleeps at once. It is offline for RCU meanwhile, too.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "nfq-balancer/queue.h"
#include "nfq-balancer/snapshot.h"
#include "nfq-balancer/worker.h"

#define RECENT_LOG2 18 /* 262,144 answers: 1.7 s of flows at 150,000/s; memory is touched as it fills */

#define STOP_TRIES 5 /* one a second */

/* Batches so far apart are single packets: the next one is received alone */
#define APART_NS UINT64_C(100000)

/* Lines that the worker writes hold nothing that another thread writes */
struct worker {
	struct queue *queue;
	struct worker_shared *shared;
	uint64_t spin_ns; /* how long to look before sleeping, as the policy has it */
	uint64_t gap_ns; /* from an empty queue to the next packet: moving average */
	uint64_t last_ns; /* when the last batch came */
	bool apart; /* it came long after the one before */
	struct decider decider;
	uint64_t seen; /* number of the snapshot at hand */
	unsigned final_rule; /* of that snapshot */
	_Atomic bool failed;
	/* the control thread's */
	_Alignas(64) pthread_t thread;
	bool started;
	/* the worker's, for others to read */
	struct worker_counters counters;
	struct decision_ring ring;
	struct steered_ring steered; /* but for its tail, which has a line to itself */
};

static_assert(offsetof(struct worker, counters) % 64 == 0 && offsetof(struct worker, ring) % 64 == 0, "own lines");
static_assert(sizeof(struct decision_slot) <= 128, "a record costs two lines");
static_assert(sizeof(struct decision_record) == RECORD_WORDS * sizeof(uint64_t), "nothing is left over");

/* ---- life ---- */

struct worker *worker_new(struct queue *queue, unsigned index, struct worker_shared *shared)
{
	/* large, and zero pages until they are used */
	struct worker *worker = mmap(NULL, sizeof(*worker), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (worker == MAP_FAILED) {
		queue_close(queue);
		return NULL;
	}
	worker->queue = queue;
	worker->shared = shared;
	worker->decider.runtime = shared->runtime;
	worker->decider.sticky = shared->sticky;
	worker->decider.load = shared->load;
	worker->decider.worker = index;
	memcpy(worker->decider.key, shared->hash_key, sizeof(worker->decider.key));
	worker->decider.policy = atomic_load(&shared->snapshot)->policy;
	worker->decider.sched = calloc(1, sizeof(*worker->decider.sched));
	worker->decider.recent = recent_new(RECENT_LOG2);
	if (!worker->decider.sched || !worker->decider.recent) {
		worker_free(worker);
		return NULL;
	}
	return worker;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	queue_close(worker->queue);
	recent_free(worker->decider.recent);
	free(worker->decider.sched);
	munmap(worker, sizeof(*worker));
}

void worker_stop(struct worker *worker)
{
	if (!worker->started)
		return;
	/* the acknowledgement wakes the thread and comes after every packet that was queued before;
	 * where the receive buffer was full it got lost: ask again */
	for (unsigned tries = 0; worker->started && tries < STOP_TRIES; tries++) {
		struct timespec until;

		queue_run_dry(worker->queue);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (pthread_timedjoin_np(worker->thread, NULL, &until) == 0)
			worker->started = false;
	}
	if (!worker->started)
		return;
	pthread_cancel(worker->thread);
	pthread_join(worker->thread, NULL);
	worker->started = false;
}

/* ---- counting ---- */

static void count_n(_Atomic uint64_t *counter, uint64_t n)
{
	/* one writer: a plain add, published without a locked instruction */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter)
{
	count_n(counter, 1);
}

static void count_decision(struct worker_counters *counters, const struct decision *decision, unsigned final_rule)
{
	unsigned rule = decision->rule < WORKER_MAX_RULES ? decision->rule : WORKER_MAX_RULES - 1;

	count(&counters->actions[decision->action]);
	count(&counters->reasons[decision->reason]);
	if (decision->reason == REASON_REPEAT)
		return;
	count(&counters->rules[rule]);
	if (decision->action != DECISION_LINK)
		return;
	count(&counters->links[decision->link]);
	if (decision->rule == final_rule)
		count(&counters->rest[decision->link]);
}

/* What decide() has counted as sending, for the control thread to follow */
static void tell_decision(struct worker *worker, const struct decision *decision)
{
	if (decision->action == DECISION_LINK && decision->reason != REASON_REPEAT)
		steered_put(&worker->steered, decision->tuple, (unsigned)decision->link);
}

static void record_decision(struct worker *worker, uint64_t now_ns, const struct flow *flow,
			    const struct flow_meta *meta, const struct decision *decision)
{
	struct decision_ring *ring = &worker->ring;
	uint64_t number = atomic_load_explicit(&ring->head, memory_order_relaxed) + 1;
	struct decision_slot *slot = &ring->slot[number % WORKER_RING];
	const struct decision_record record = {
		.number = number,
		.time = now_ns,
		.flow = *flow,
		.meta = *meta,
		.decision = *decision,
		.worker = (uint16_t)queue_number(worker->queue),
		.snapshot = (uint32_t)worker->seen,
	};
	uint64_t words[RECORD_WORDS];

	memcpy(words, &record, sizeof(words));
	atomic_store_explicit(&slot->sequence, 2 * number + 1, memory_order_relaxed);
	/* released: who sees a word of this record sees that it is being written, too */
	for (size_t i = 0; i < RECORD_WORDS; i++)
		atomic_store_explicit(&slot->words[i], words[i], memory_order_release);
	atomic_store_explicit(&slot->sequence, 2 * number, memory_order_release);
	atomic_store_explicit(&ring->head, number, memory_order_release);
}

/* ---- deciding ---- */

static uint64_t monotonic_ns(void)
{
	struct timespec clock;

	clock_gettime(CLOCK_MONOTONIC, &clock);
	return (uint64_t)clock.tv_sec * 1000000000u + (uint64_t)clock.tv_nsec;
}

static const struct conntrack_mark_attr *verdict_attr(const struct worker *worker, const struct snapshot *snapshot,
						      const struct decision *decision)
{
	if (!worker->shared->verdict_carries_ct || !decision->ct_mark)
		return NULL;
	return decision->action == DECISION_LINK ? &snapshot->link_attr[decision->link] : &snapshot->main_attr;
}

static struct flow_meta packet_meta(const struct snapshot *snapshot, const struct queue_packet *packet)
{
	return (struct flow_meta){
		.mark = packet->mark,
		.iface = snapshot_iface_slot(snapshot, packet->ifindex),
		.from_router = packet->local,
	};
}

/* A packet on the way to its verdict */
struct work {
	enum decode_result decoded;
	struct flow_meta meta;
	struct flow flow;
	struct decide_prepared prepared;
	struct decision decision;
};

static void prepare_packet(const struct worker *worker, const struct snapshot *snapshot,
			   const struct queue_packet *packet, struct work *work)
{
	work->decoded = decode_packet(packet->bytes, packet->len, &work->flow);
	if (work->decoded != DECODE_OK)
		return;
	work->meta = packet_meta(snapshot, packet);
	decide_prepare(&worker->decider, &work->flow, &work->meta, &work->prepared);
}

static void decide_packet(struct worker *worker, const struct snapshot *snapshot, const struct queue_packet *packet,
			  struct work *work, uint64_t now_ns)
{
	struct decision *decision = &work->decision;

	if (work->decoded != DECODE_OK) {
		/* it still carries the waiting mark: the fallback takes it */
		queue_accept(worker->queue, packet->id, false, 0, NULL);
		return;
	}
	decide_prepared(&worker->decider, &work->flow, &work->meta, now_ns / 1000000, &work->prepared, decision);
	queue_accept(worker->queue, packet->id, decision->packet_mark != packet->mark, decision->packet_mark,
		     verdict_attr(worker, snapshot, decision));
	tell_decision(worker, decision);
}

static void account_packet(struct worker *worker, const struct work *work, uint64_t now_ns)
{
	if (work->decoded != DECODE_OK) {
		count(&worker->counters.undecoded[work->decoded]);
		return;
	}
	count_decision(&worker->counters, &work->decision, worker->final_rule);
	record_decision(worker, now_ns, &work->flow, &work->meta, &work->decision);
}

/* A new policy: its rules are counted from zero, by the counters' one writer */
static const struct snapshot *take_snapshot(struct worker *worker)
{
	const struct snapshot *snapshot = atomic_load_explicit(&worker->shared->snapshot, memory_order_acquire);

	if (snapshot->number == worker->seen)
		return snapshot;
	size_t rules = policy_config(snapshot->policy)->n_rules;

	for (size_t i = 0; i < rules && i < WORKER_MAX_RULES; i++)
		atomic_store_explicit(&worker->counters.rules[i], 0, memory_order_relaxed);
	atomic_store_explicit(&worker->counters.snapshot, snapshot->number, memory_order_release);
	worker->spin_ns = policy_config(snapshot->policy)->spin * UINT64_C(1000);
	worker->decider.policy = snapshot->policy;
	worker->final_rule = policy_config(snapshot->policy)->final_rule;
	worker->seen = snapshot->number;
	return snapshot;
}

static void decide_batch(struct worker *worker, const struct queue_packet *packets, int n)
{
	const struct snapshot *snapshot = take_snapshot(worker);
	const uint64_t now_ns = monotonic_ns();
	struct work work[QUEUE_BATCH];

	for (int i = 0; i < n; i++)
		prepare_packet(worker, snapshot, &packets[i], &work[i]);
	for (int i = 0; i < n; i++)
		decide_packet(worker, snapshot, &packets[i], &work[i], now_ns);
	steered_tell(&worker->steered);
	queue_flush(worker->queue);
	for (int i = 0; i < n; i++)
		account_packet(worker, &work[i], now_ns);
	count_n(&worker->counters.packets, (uint64_t)n);
	count(&worker->counters.batches);
	worker->apart = now_ns - worker->last_ns >= APART_NS;
	worker->last_ns = now_ns;
}

/* ---- waiting ---- */

/* Look at the queue again and again, until `until` at most; as queue_receive() */
static int spin(struct worker *worker, struct queue_packet *packets, uint64_t until, bool *empty)
{
	int n;

	do
		n = queue_receive(worker->queue, packets, QUEUE_LOOK, empty);
	while (*empty && monotonic_ns() < until);
	return n;
}

/* An eighth of the way towards the new gap. A long one weighs little: after an idle hour ten
 * packets in a row are enough to spin again. */
static void note_gap(struct worker *worker, uint64_t gap)
{
	const uint64_t most = 4 * worker->spin_ns;

	worker->gap_ns = (7 * worker->gap_ns + (gap < most ? gap : most)) / 8;
}

static enum queue_look how_to_look(const struct worker *worker)
{
	if (queue_dry(worker->queue))
		return QUEUE_LOOK;
	return worker->apart ? QUEUE_WAIT_ONE : QUEUE_WAIT;
}

static int receive(struct worker *worker, struct queue_packet *packets, bool *empty)
{
	const enum queue_look look = how_to_look(worker);
	uint64_t begin;
	int n = 0;

	if (look == QUEUE_LOOK || !worker->spin_ns)
		return queue_receive(worker->queue, packets, look, empty);
	begin = monotonic_ns();
	*empty = true;
	if (worker->gap_ns < worker->spin_ns)
		n = spin(worker, packets, begin + worker->spin_ns, empty);
	if (*empty)
		n = queue_receive(worker->queue, packets, look, empty);
	note_gap(worker, monotonic_ns() - begin);
	return n;
}

static void *worker_run(void *argument)
{
	struct worker *worker = argument;
	struct queue_packet packets[QUEUE_BATCH];
	bool empty = false;

	urcu_qsbr_register_thread();
	while (!(queue_dry(worker->queue) && empty)) {
		urcu_qsbr_thread_offline();
		int n = receive(worker, packets, &empty);

		urcu_qsbr_thread_online();
		if (n < 0) {
			atomic_store(&worker->failed, true);
			break;
		}
		if (n > 0)
			decide_batch(worker, packets, n);
		atomic_store_explicit(&worker->counters.errors, queue_errors(worker->queue), memory_order_relaxed);
	}
	urcu_qsbr_unregister_thread();
	return NULL;
}

int worker_start(struct worker *worker)
{
	sigset_t all, before;
	char name[16]; /* as `top -H` and /proc show it */

	/* signals are the control thread's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int failed = pthread_create(&worker->thread, NULL, worker_run, worker);

	pthread_sigmask(SIG_SETMASK, &before, NULL);
	worker->started = failed == 0;
	if (worker->started) {
		snprintf(name, sizeof(name), "nfqb-queue%u", queue_number(worker->queue));
		pthread_setname_np(worker->thread, name);
	}
	return failed;
}

int worker_pin(struct worker *worker, const cpu_set_t *cpus)
{
	return pthread_setaffinity_np(worker->thread, sizeof(*cpus), cpus);
}

int worker_set_fail_open(struct worker *worker, bool fail_open)
{
	return queue_set_fail_open(worker->queue, fail_open) ? 0 : errno;
}

/* ---- for others to read ---- */

bool worker_failed(const struct worker *worker)
{
	return atomic_load(&worker->failed);
}

const struct decider *worker_decider(const struct worker *worker)
{
	return &worker->decider;
}

struct steered_ring *worker_steered(struct worker *worker)
{
	return &worker->steered;
}

const struct worker_counters *worker_counters(const struct worker *worker)
{
	return &worker->counters;
}

unsigned worker_queue(const struct worker *worker)
{
	return queue_number(worker->queue);
}

uint64_t worker_newest(const struct worker *worker)
{
	return atomic_load_explicit(&worker->ring.head, memory_order_acquire);
}

bool worker_record(const struct worker *worker, uint64_t number, struct decision_record *out)
{
	const struct decision_slot *slot = &worker->ring.slot[number % WORKER_RING];
	uint64_t words[RECORD_WORDS];

	if (number == 0 || atomic_load_explicit(&slot->sequence, memory_order_acquire) != 2 * number)
		return false;
	for (size_t i = 0; i < RECORD_WORDS; i++)
		words[i] = atomic_load_explicit(&slot->words[i], memory_order_acquire);
	memcpy(out, words, sizeof(*out));
	return atomic_load_explicit(&slot->sequence, memory_order_relaxed) == 2 * number;
}
