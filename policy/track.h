/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track.h - which flows are sending, from decisions and conntrack events
 *
 * Fed by the control thread with what the workers decided and what the kernel's
 * connection tracking says; keeps `followed` of struct load right.
 *
 * Life of a flow ("counts": it is one of the flows sending through its link):
 *
 *   decided   counts  a worker steered it; no entry in the kernel yet. None within two
 *                     seconds: the packet was dropped later, it never was (a ghost)
 *   opening   counts  TCP SYN without an answer, for three seconds; then idle
 *   sending   counts
 *   idle              the kernel knows it, nothing passes. Found by looking at the whole
 *                     table, by a one-answer exchange having its answer, or, without
 *                     states as TCP has them, after the lifetime usual in its class
 *   closed            TCP at FIN_WAIT or later; never counts again
 *
 * Pure: `now` is an argument (us, monotonic). Everything is O(1) but the end of a look
 * at the whole table. 48 bytes per flow and 4 of hash for each that has room, touched as flows come.
 */
#ifndef POLICY_TRACK_H
#define POLICY_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/load.h"

enum track_phase {
	TRACK_STATELESS, /* UDP, ICMP, ...: nothing says when it ends */
	TRACK_OPENING, /* TCP: SYN, no answer */
	TRACK_ANSWERED, /* TCP: SYN and its answer */
	TRACK_OPEN,
	TRACK_CLOSING, /* TCP: FIN or RST was seen */
};

/* What the kernel says of a flow, in an event or in a dump */
struct track_flow {
	uint64_t key; /* hash of the tuple, as in struct decision */
	uint32_t id; /* the kernel's, of this entry */
	uint32_t packets; /* both directions; only differences mean something; 0: not counted */
	enum track_phase phase;
	uint16_t dport;
	uint8_t link; /* index */
	uint8_t protocol;
	bool replied;
	bool quiet; /* known to have sent nothing for seconds; false also where that is unknown */
};

/* How a flow ended */
struct track_end {
	uint32_t packets[2]; /* original, reply */
	uint32_t active_ms; /* from its first packet to its last; UINT32_MAX: unknown */
};

struct track_link {
	uint32_t known; /* flows that the kernel has an entry for */
	uint32_t rtt_us; /* TCP handshakes, SYN to answer; moving average, 0: none yet */
	uint64_t started; /* entries that appeared, running total */
};

/* Running totals */
struct track_totals {
	uint64_t matched; /* decisions that got their entry */
	uint64_t ghosts; /* decisions that did not */
	uint64_t foreign; /* entries without a decision: fallback, inbound, older than the daemon */
	uint64_t moved; /* entries on another link than decided: a more specific route won */
	uint64_t stopped; /* flows that stopped counting */
	uint64_t idle; /* of these, because they fell idle */
	uint64_t swept; /* entries whose end was not reported */
	uint64_t refused; /* not followed, for want of room */
};

struct track;

/* Follow at most `max` flows. NULL: out of memory. */
struct track *track_new(struct load *load, uint32_t max);
void track_free(struct track *track);

/* A worker steered a flow, and has counted it */
void track_decided(struct track *track, uint64_t key, unsigned link, uint64_t now);
/* `n` flows were steered, and nothing will tell what becomes of them: they count for two seconds. Until the
 * next track_forget_blind(): then events and looks have begun to tell. */
void track_blind(struct track *track, unsigned link, uint32_t n, uint64_t now);
void track_forget_blind(struct track *track);
/* `n` decisions for a link will not be told one by one: their entries will be taken as foreign */
void track_forgotten(struct track *track, unsigned link, uint32_t n);

/* Events: an entry is new or has changed; it is gone. Repeated, late and missing ones do no lasting harm. */
void track_changed(struct track *track, const struct track_flow *flow, uint64_t now);
void track_ended(struct track *track, const struct track_flow *flow, const struct track_end *end);
/* The entry belongs to no link (any more) */
void track_foreign(struct track *track, uint64_t key, uint32_t id);

/* Have the memory of a flow on its way that will be told soon: a batch of them first with one, then with the other */
void track_prefetch_bucket(const struct track *track, uint64_t key);
void track_prefetch_entry(const struct track *track, uint64_t key);

/* A look at the whole table: begin, every entry, end; what was not seen is gone. With
 * `judge` (looks some seconds apart) entries whose packets stand still fall idle, and
 * idle ones whose packets move count again. An unfinished look does no harm. */
void track_look_begin(struct track *track, bool judge);
void track_look(struct track *track, const struct track_flow *flow, uint64_t now);
void track_look_end(struct track *track);

/* Time passes: call every 100 ms or so */
void track_advance(struct track *track, uint64_t now);

struct track_link track_link(const struct track *track, unsigned link);
struct track_totals track_totals(const struct track *track);
/* Memory in use, in bytes */
uint64_t track_memory(const struct track *track);

#endif
