/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback_flows.c - decisions from the rings and entries from the kernel's table -> policy/track.h
 */
#include <errno.h>
#include <string.h>

#include "conntrack/meaning.h"
#include "nfq-balancer/daemon.h"
#include "nfq-balancer/feedback_private.h"
#include "nfq-balancer/log.h"

#define LOOK_EVERY_US UINT64_C(5000000) /* from the end of a look to the begin of the next */
#define AHEAD 8 /* decisions whose memory is on its way */

/* ---- decisions ---- */

static void take_untold(struct feedback *feedback, unsigned worker, const struct steered_ring *ring)
{
	const size_t links = policy_config(feedback->daemon->policy)->n_links;

	for (unsigned i = 0; i < links; i++) {
		const uint32_t untold = atomic_load_explicit(&ring->untold[i], memory_order_relaxed);
		const uint32_t n = untold - feedback->untold[worker][i];

		if (!n)
			continue;
		track_forgotten(feedback->track, i, n);
		feedback->untold[worker][i] = untold;
		feedback->status.untold += n;
	}
}

void feedback_take_untold(struct feedback *feedback)
{
	for (unsigned i = 0; i < feedback->daemon->n_workers; i++)
		take_untold(feedback, i, worker_steered(feedback->daemon->workers[i]));
}

static void follow(struct feedback *feedback, const struct steered_ring *ring, uint32_t n, uint64_t now)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct steered *steered = steered_at(ring, i);

		if (i + AHEAD < n)
			track_prefetch_bucket(feedback->track, steered_at(ring, i + AHEAD)->key);
		track_decided(feedback->track, steered->key, steered->link, now);
	}
}

/* Without events and looks a decision is one more of its link, for two seconds: no table */
static void count_alone(struct feedback *feedback, const struct steered_ring *ring, uint32_t n, uint64_t now)
{
	for (uint32_t i = 0; i < n; i++)
		track_blind(feedback->track, steered_at(ring, i)->link, 1, now);
}

void feedback_take_decisions(struct feedback *feedback, uint64_t now)
{
	struct daemon *daemon = feedback->daemon;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		struct steered_ring *ring = worker_steered(daemon->workers[i]);
		const uint32_t n = steered_waiting(ring);

		if (feedback->status.source == FEEDBACK_OFF)
			count_alone(feedback, ring, n, now);
		else
			follow(feedback, ring, n, now);
		steered_drop(ring, n);
		feedback->decided += n;
	}
}

/* ---- entries ---- */

bool feedback_read_flow(const struct feedback *feedback, const struct conntrack_entry *entry, struct track_flow *out)
{
	const struct config *config = policy_config(feedback->daemon->policy);
	const unsigned id = config_mark_id(config->mask, entry->mark);
	const int link = id ? config_link_by_id(config, id) : -1;

	*out = (struct track_flow){
		.key = flow_hash_tuple(&entry->flow, feedback->daemon->shared.hash_key),
		.id = entry->id,
		.packets = (uint32_t)(entry->packets[0] + entry->packets[1]),
		.phase = conntrack_phase(entry),
		.dport = entry->flow.dport,
		.link = (uint8_t)link,
		.protocol = entry->flow.protocol,
		.replied = conntrack_replied(entry),
	};
	return link >= 0;
}

static void on_look(const struct conntrack_entry *entry, void *data)
{
	struct feedback *feedback = data;
	struct track_flow flow;

	if (!feedback_read_flow(feedback, entry, &flow))
		return;
	flow.quiet = conntrack_quiet(entry, &feedback->settings);
	track_look(feedback->track, &flow, feedback_now());
}

/* ---- looking at the table ---- */

static struct conntrack_dump *begin_look(struct feedback *feedback, bool judge)
{
	const uint32_t settled = config_mark_settled(policy_config(feedback->daemon->policy)->mask);
	struct conntrack_dump *dump = conntrack_dump_start(settled, settled, 0);

	if (!dump) {
		log_warning("feedback: cannot read the kernel's connections: %s", strerror(errno));
		return NULL;
	}
	feedback->status.looks++;
	track_look_begin(feedback->track, judge);
	return dump;
}

void feedback_stop_look(struct feedback *feedback)
{
	conntrack_dump_free(feedback->look);
	feedback->look = NULL;
	feedback->next_look = feedback_now() + LOOK_EVERY_US;
}

/* The kernel has made the part that comes before it is asked for it. So the decisions about its entries are in the
 * rings by then: taken first, none is mistaken for a ghost. */
static int read_part(struct feedback *feedback, struct conntrack_dump *dump, conntrack_each *each, void *data)
{
	feedback_take_decisions(feedback, feedback_now());
	return conntrack_dump_read(dump, each, data);
}

/* With events, a paced look reads about a hundred entries each tick; instead of events, as many as the budget allows */
static bool may_look_on(const struct feedback *feedback, uint64_t begin)
{
	const unsigned percent = policy_config(feedback->daemon->policy)->feedback_budget;

	return !feedback->events && (feedback_cpu() - begin) * 100 < FEEDBACK_TICK_US * percent;
}

/* A part of the paced look; the next look starts in its time */
void feedback_step_look(struct feedback *feedback, uint64_t now)
{
	const uint64_t begin = feedback_cpu();
	int more;

	if (!feedback->look && now >= feedback->next_look) {
		feedback->look = begin_look(feedback, true);
		if (!feedback->look)
			feedback_stop_look(feedback);
	}
	if (!feedback->look)
		return;
	do
		more = read_part(feedback, feedback->look, on_look, feedback);
	while (more > 0 && may_look_on(feedback, begin));
	if (more > 0)
		return;
	if (more == 0)
		track_look_end(feedback->track);
	feedback_stop_look(feedback);
}

struct listener {
	struct feedback *feedback;
	void (*each)(const struct conntrack_entry *entry, void *data);
	void *data;
};

static void on_resync(const struct conntrack_entry *entry, void *data)
{
	const struct listener *listener = data;

	if (listener->feedback->status.source != FEEDBACK_OFF)
		on_look(entry, listener->feedback);
	if (listener->each)
		listener->each(entry, listener->data);
}

/* The whole table at once */
bool feedback_resync(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data),
		     void *data)
{
	struct listener listener = { feedback, each, data };
	struct conntrack_dump *dump;
	int more = 1;

	feedback_stop_look(feedback);
	dump = begin_look(feedback, false);
	if (!dump)
		return false;
	while (more > 0)
		more = read_part(feedback, dump, on_resync, &listener);
	if (more < 0)
		log_warning("feedback: reading the kernel's connections: %s", strerror(errno));
	else
		track_look_end(feedback->track);
	conntrack_dump_free(dump);
	return more == 0;
}
