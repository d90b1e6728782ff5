/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track.c - which flows are sending
 *
 * Theory of operation. Every flow that counts was counted once: by the worker that
 * decided it, or here. It stops counting once: here (both `followed`). All of
 * this happens in change_state() and change_link(), so that whatever the events are,
 * a link's load is the number of flows that are in a state which counts, plus what
 * workers have decided and this module has not yet been told.
 *
 * One tuple may have several flows at a time: the kernel's entry of an old connection
 * and the decision for a new one with the same ports. So the kernel's entries are known
 * by tuple and id, decisions by tuple alone.
 */
#include "policy/track.h"

#include <stddef.h>
#include <stdlib.h>

#include "policy/track_class.h"
#include "policy/track_table.h"

#define GHOST_MS 2000 /* from a decision to its entry */
#define OPENING_MS 3000 /* from a SYN to its answer */
#define BLIND_SLOTS 64 /* of GHOST_MS / BLIND_SLOTS each */
#define BLIND_US (GHOST_MS * UINT64_C(1000) / BLIND_SLOTS)
#define QUIET_PACKETS 4 /* between two looks: a keep-alive and its answer, not more */
#define LONGEST_RTT_US 900000 /* beyond is a SYN sent again */

struct track {
	struct load *load;
	struct track_table table;
	struct track_class classes[TRACK_CLASSES];
	struct track_link links[CONFIG_MAX_LINKS];
	struct track_totals totals;
	/* flows that nothing is known of, by the time of their decision */
	uint64_t blind_until; /* number of the slot that comes last */
	uint32_t blind[BLIND_SLOTS][CONFIG_MAX_LINKS];
	uint32_t blind_total;
	uint8_t round; /* of the look that runs, or ran last */
	bool judge; /* that look judges who is idle */
};

struct track *track_new(struct load *load, uint32_t max)
{
	struct track *track = calloc(1, sizeof(*track));

	if (!track)
		return NULL;
	track->load = load;
	track_class_init(track->classes);
	if (!track_table_init(&track->table, max)) {
		track_free(track);
		return NULL;
	}
	return track;
}

void track_free(struct track *track)
{
	if (track)
		track_table_release(&track->table);
	free(track);
}

/* ---- states ---- */

static struct track_entry *entry_at(struct track *track, uint32_t index)
{
	return &track->table.entries[index];
}

static bool counts(uint8_t state)
{
	return state == TRACK_DECIDED || state == TRACK_SYN || state == TRACK_SENDING;
}

static void change_state(struct track *track, uint32_t index, enum track_state state)
{
	struct track_entry *entry = entry_at(track, index);

	if (counts(entry->state) && !counts((uint8_t)state)) {
		load_sub(&track->load->followed, entry->link, 1);
		track->totals.stopped++;
	} else if (!counts(entry->state) && counts((uint8_t)state)) {
		load_add(&track->load->followed, entry->link, 1);
	}
	entry->state = (uint8_t)state;
	track_table_stop_timer(&track->table, index);
}

/* Where it went after all */
static void change_link(struct track *track, struct track_entry *entry, unsigned link)
{
	if (entry->link == link)
		return;
	if (counts(entry->state)) {
		load_sub(&track->load->followed, entry->link, 1);
		load_add(&track->load->followed, link, 1);
	}
	if (entry->state != TRACK_DECIDED) {
		track->links[entry->link].known--;
		track->links[link].known++;
	}
	entry->link = (uint8_t)link;
	track->totals.moved++;
}

static void fall_idle(struct track *track, uint32_t index)
{
	change_state(track, index, TRACK_IDLE);
	track->totals.idle++;
}

/* The flow is no more */
static void forget(struct track *track, uint32_t index)
{
	struct track_entry *entry = entry_at(track, index);

	if (entry->state == TRACK_DECIDED)
		track->totals.ghosts++;
	else
		track->links[entry->link].known--;
	change_state(track, index, TRACK_CLOSED);
	track_table_remove(&track->table, index);
}

/* ---- decisions ---- */

void track_decided(struct track *track, uint64_t key, unsigned link, uint64_t now)
{
	const uint32_t index = track_table_add(&track->table, key);
	struct track_entry *entry = entry_at(track, index);

	if (!index) {
		track_forgotten(track, link, 1);
		track->totals.refused++;
		return;
	}
	entry->link = (uint8_t)link;
	entry->since = (uint32_t)now;
	entry->state = TRACK_DECIDED; /* counted already, by the worker */
	track_table_set_timer(&track->table, index, now, GHOST_MS);
}

void track_forgotten(struct track *track, unsigned link, uint32_t n)
{
	load_sub(&track->load->followed, link, n);
}

/* ---- decisions that nothing will be known of ---- */

/* Two seconds have passed for those of a slot */
static void end_blind(struct track *track, uint32_t *flows)
{
	for (unsigned link = 0; link < CONFIG_MAX_LINKS; link++) {
		if (!flows[link])
			continue;
		track_forgotten(track, link, flows[link]);
		track->totals.stopped += flows[link];
		track->totals.ghosts += flows[link];
		track->blind_total -= flows[link];
		flows[link] = 0;
	}
}

/* Up to `now`; the slot of `now` is empty or has flows of this turn alone */
static void advance_blind(struct track *track, uint64_t now)
{
	const uint64_t slot = now / BLIND_US;

	if (slot <= track->blind_until)
		return;
	for (uint64_t i = track->blind_until + 1; track->blind_total && i <= slot; i++)
		end_blind(track, track->blind[i % BLIND_SLOTS]);
	track->blind_until = slot;
}

void track_blind(struct track *track, unsigned link, uint32_t n, uint64_t now)
{
	advance_blind(track, now);
	track->blind[track->blind_until % BLIND_SLOTS][link] += n;
	track->blind_total += n;
}

void track_forget_blind(struct track *track)
{
	for (unsigned i = 0; track->blind_total && i < BLIND_SLOTS; i++)
		end_blind(track, track->blind[i]);
}

/* ---- what the kernel says ---- */

/* An entry that is new to us, of a decision if there is one. 0: no room. */
static uint32_t take_entry(struct track *track, const struct track_flow *flow, uint64_t now)
{
	uint32_t index = track_table_find_decided(&track->table, flow->key);
	struct track_entry *entry;

	if (index) {
		entry = entry_at(track, index);
		change_link(track, entry, flow->link);
		track->totals.matched++;
		change_state(track, index, TRACK_SENDING);
	} else {
		index = track_table_add(&track->table, flow->key);
		entry = entry_at(track, index);
		if (!index) {
			track->totals.refused++;
			return 0;
		}
		entry->link = flow->link;
		entry->state = TRACK_CLOSED; /* until it is known better: does not count */
		track->totals.foreign++;
	}
	entry->id = flow->id;
	entry->since = (uint32_t)now;
	entry->class = track_class_of(flow->protocol, flow->dport);
	track->links[flow->link].known++;
	track->links[flow->link].started++;
	return index;
}

static void begin(struct track *track, uint32_t index, const struct track_flow *flow, uint64_t now)
{
	const struct track_class *class = &track->classes[entry_at(track, index)->class];

	switch (flow->phase) {
	case TRACK_OPENING:
		change_state(track, index, TRACK_SYN);
		entry_at(track, index)->unanswered = true;
		track_table_set_timer(&track->table, index, now, OPENING_MS);
		break;
	case TRACK_ANSWERED:
	case TRACK_OPEN:
		change_state(track, index, flow->quiet ? TRACK_IDLE : TRACK_SENDING);
		break;
	case TRACK_CLOSING:
		change_state(track, index, TRACK_CLOSED);
		break;
	case TRACK_STATELESS:
		if (flow->quiet || (flow->replied && track_class_exchange(class))) {
			change_state(track, index, TRACK_IDLE);
			break;
		}
		change_state(track, index, TRACK_SENDING);
		track_table_set_timer(&track->table, index, now, class->lifetime_ms);
		break;
	}
}

static void measure_handshake(struct track *track, const struct track_entry *entry, uint64_t now)
{
	uint32_t *rtt = &track->links[entry->link].rtt_us;
	const uint32_t us = (uint32_t)now - entry->since;

	if (us > LONGEST_RTT_US)
		return;
	*rtt = *rtt ? (7 * *rtt + us) / 8 : us;
	if (*rtt == 0)
		*rtt = 1; /* 0 means unknown */
}

/* Only forwards: late news of an earlier state change nothing */
static void proceed(struct track *track, uint32_t index, const struct track_flow *flow, uint64_t now)
{
	struct track_entry *entry = entry_at(track, index);

	change_link(track, entry, flow->link);
	if (entry->state == TRACK_CLOSED)
		return;
	switch (flow->phase) {
	case TRACK_OPENING:
		break;
	case TRACK_ANSWERED:
	case TRACK_OPEN:
		/* later an idle one stays idle: its packets, not its state, tell */
		if (!entry->unanswered)
			break;
		if (flow->phase == TRACK_ANSWERED)
			measure_handshake(track, entry, now);
		entry->unanswered = false;
		change_state(track, index, TRACK_SENDING);
		break;
	case TRACK_CLOSING:
		change_state(track, index, TRACK_CLOSED);
		break;
	case TRACK_STATELESS:
		if (entry->state == TRACK_SENDING && !entry->looked && flow->replied &&
		    track_class_exchange(&track->classes[entry->class]))
			change_state(track, index, TRACK_IDLE);
		break;
	}
}

void track_prefetch_bucket(const struct track *track, uint64_t key)
{
	track_table_prefetch_bucket(&track->table, key);
}

void track_prefetch_entry(const struct track *track, uint64_t key)
{
	track_table_prefetch_entry(&track->table, key);
}

void track_changed(struct track *track, const struct track_flow *flow, uint64_t now)
{
	uint32_t index = track_table_find(&track->table, flow->key, flow->id);

	if (index) {
		proceed(track, index, flow, now);
		return;
	}
	index = take_entry(track, flow, now);
	if (!index)
		return;
	entry_at(track, index)->round = track->round;
	begin(track, index, flow, now);
}

void track_foreign(struct track *track, uint64_t key, uint32_t id)
{
	uint32_t index = track_table_find(&track->table, key, id);

	if (!index)
		index = track_table_find_decided(&track->table, key);
	if (index)
		forget(track, index);
}

void track_ended(struct track *track, const struct track_flow *flow, const struct track_end *end)
{
	const uint32_t index = track_table_find(&track->table, flow->key, flow->id);

	if (flow->phase == TRACK_STATELESS)
		track_class_learn(&track->classes[track_class_of(flow->protocol, flow->dport)], end->packets[0],
				  end->packets[1], end->active_ms);
	if (index)
		forget(track, index);
}

/* ---- looking at the whole table ---- */

void track_look_begin(struct track *track, bool judge)
{
	track->round++;
	track->judge = judge;
}

static void judge(struct track *track, uint32_t index, const struct track_flow *flow)
{
	struct track_entry *entry = entry_at(track, index);
	const uint32_t packets = flow->packets - entry->packets;
	const bool compared = entry->looked && flow->packets;
	const bool still = compared ? packets <= QUIET_PACKETS : flow->quiet;

	entry->looked = true;
	entry->packets = flow->packets;
	if (entry->state == TRACK_SENDING && still && (compared || flow->phase != TRACK_STATELESS))
		fall_idle(track, index);
	else if (entry->state == TRACK_IDLE && compared && !still && flow->phase != TRACK_OPENING)
		change_state(track, index, TRACK_SENDING);
	else if (entry->state == TRACK_SENDING && compared)
		/* it outlives its class: from now on its packets tell */
		track_table_stop_timer(&track->table, index);
}

void track_look(struct track *track, const struct track_flow *flow, uint64_t now)
{
	uint32_t index = track_table_find(&track->table, flow->key, flow->id);

	if (!index) {
		track_changed(track, flow, now);
		index = track_table_find(&track->table, flow->key, flow->id);
	} else {
		proceed(track, index, flow, now);
	}
	if (!index)
		return;
	entry_at(track, index)->round = track->round;
	if (track->judge && flow->phase != TRACK_CLOSING)
		judge(track, index, flow);
}

void track_look_end(struct track *track)
{
	for (uint32_t i = 1; i < track->table.used; i++) {
		const struct track_entry *entry = entry_at(track, i);

		if (entry->state == TRACK_FREE || entry->state == TRACK_DECIDED || entry->round == track->round)
			continue;
		forget(track, i);
		track->totals.swept++;
	}
}

/* ---- time ---- */

static void expire(void *data, uint32_t index)
{
	struct track *track = data;

	if (entry_at(track, index)->state == TRACK_DECIDED)
		forget(track, index);
	else
		fall_idle(track, index);
}

void track_advance(struct track *track, uint64_t now)
{
	track_table_turn(&track->table, now, expire, track);
	advance_blind(track, now);
}

/* ---- for others to read ---- */

struct track_link track_link(const struct track *track, unsigned link)
{
	return track->links[link];
}

struct track_totals track_totals(const struct track *track)
{
	return track->totals;
}

uint64_t track_memory(const struct track *track)
{
	return sizeof(*track) + (uint64_t)track->table.used * sizeof(struct track_entry) +
	       ((uint64_t)track->table.bucket_mask + 1) * sizeof(*track->table.buckets);
}
