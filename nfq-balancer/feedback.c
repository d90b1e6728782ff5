/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback.c - decisions and events -> policy/track.h
 *
 * Theory of operation. A worker tells a decision before it sends the verdict, so the
 * kernel's event of a flow always follows its decision; the rings are emptied when events
 * have been received, before they are followed, and thus an event without a decision is the
 * fallback's, or inbound.
 *
 * The whole table is looked at
 *   at once        at the start, and after the kernel dropped events: the counts have to
 *                  be right again soon. Events wait meanwhile and are replayed on the result.
 *   part by part   every few seconds: finds idle connections and mends what went wrong.
 *
 * What events cost is measured (here) and estimated (in the kernel). Beyond the budget they are given up at once,
 * for a while (budget.h); looks go on, as many as fit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/feedback_private.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/sampler.h"

#define MAX_FLOWS (UINT32_C(1) << 20)
/* ---- where the counts come from ---- */

static enum feedback_source wanted_source(const struct feedback *feedback, const char **why)
{
	const struct config *config = policy_config(feedback->daemon->policy);

	*why = "";
	if (!config->feedback)
		return FEEDBACK_OFF;
	if (!feedback->settings.events)
		*why = "net.netfilter.nf_conntrack_events is 0";
	else if (budget_paused(&feedback->budget))
		*why = "events cost more than feedback-budget";
	else
		return FEEDBACK_EVENTS;
	return FEEDBACK_SAMPLES;
}

static void settle_source(struct feedback *feedback)
{
	const char *why;
	enum feedback_source source = wanted_source(feedback, &why);

	if (source == FEEDBACK_EVENTS && !feedback->events) {
		if (feedback_subscribe(feedback)) {
			feedback->resync = true;
		} else {
			source = FEEDBACK_SAMPLES;
			why = strerror(errno);
		}
	} else if (source != FEEDBACK_EVENTS && feedback->events) {
		feedback_unsubscribe(feedback);
	}
	if (source == feedback->status.source && why == feedback->status.why)
		return;
	if (source == FEEDBACK_SAMPLES)
		log_warning("feedback: %s: connections are looked at from time to time instead, counts lag behind",
			    why);
	else
		log_info("feedback: %s", feedback_source_name(source));
	if (source == FEEDBACK_OFF) {
		/* a look that sees nothing: nothing is known any more */
		feedback_stop_look(feedback);
		track_look_begin(feedback->track, false);
		track_look_end(feedback->track);
	} else {
		track_forget_blind(feedback->track);
	}
	feedback->status.source = source;
	feedback->status.why = why;
}

/* ---- every second ---- */

static void keep_budget(struct feedback *feedback, uint64_t now)
{
	const unsigned percent = policy_config(feedback->daemon->policy)->feedback_budget;

	feedback->decided_second += feedback->decided;
	if (budget_exceeded(&feedback->budget, now, percent, feedback->decided)) {
		log_warning("feedback: events take more than feedback-budget is, %u %% of a processor: none for %u s",
			    percent, feedback->budget.paused);
		feedback->status.over_budget++;
		settle_source(feedback);
	}
	feedback->decided = 0;
}

static void measure_cpu(struct feedback *feedback, uint64_t elapsed)
{
	feedback->status.cpu_permille = (uint32_t)(feedback->cpu_us * 1000 / elapsed);
	feedback->cpu_us = 0;
	budget_second(&feedback->budget, policy_config(feedback->daemon->policy)->feedback_budget,
		      feedback->decided_second);
	feedback->decided_second = 0;
}

/* A full table loses new connections before anybody can steer them */
static void watch_room(struct feedback *feedback)
{
	struct feedback_status *status = &feedback->status;
	const bool before = status->crowded;

	status->entries = feedback->settings.entries;
	status->room = feedback->settings.room;
	status->crowded = conntrack_crowded(&feedback->settings, before);
	if (status->crowded && !before)
		log_warning("the kernel's table of connections is nearly full: %u of %u "
			    "(net.netfilter.nf_conntrack_max); beyond that, new connections are lost",
			    status->entries, status->room);
}

/* What the schedulers read beside the counts */
static void publish(struct feedback *feedback, uint64_t elapsed)
{
	const struct track_totals totals = track_totals(feedback->track);
	const uint64_t departed = totals.stopped - totals.idle - totals.ghosts;
	const uint64_t rate = (departed - feedback->departed) * 1000000 / elapsed;
	struct daemon *daemon = feedback->daemon;

	feedback->status.delay_us = delay_quantile(&feedback->delay, 500);
	feedback->status.delay_p99_us = delay_quantile(&feedback->delay, 990);
	delay_fade(&feedback->delay);
	feedback->departed = departed;
	feedback->departures = (uint32_t)((feedback->departures + rate) / 2);
	atomic_store_explicit(&feedback->load->unreported,
			      (uint32_t)((uint64_t)feedback->departures * feedback->status.delay_us / 1000000),
			      memory_order_relaxed);
	for (unsigned i = 0; i < policy_config(daemon->policy)->n_links; i++) {
		const uint64_t before = link_runtime_measured(&daemon->runtime, i).bits_down;
		const uint64_t now = sampler_link(daemon->sampler, i).rx_bits_now;
		const struct link_measured measured = {
			.rtt_us = track_link(feedback->track, i).rtt_us,
			/* up at once, down slowly: a pause must not look like an idle link */
			.bits_down = before > now ? (before + now) / 2 : now,
			.sending = load_sending(feedback->load, i),
		};

		link_runtime_set_measured(&daemon->runtime, i, &measured);
	}
}

static void every_second(struct feedback *feedback, uint64_t now)
{
	const uint64_t elapsed = now - feedback->next_second + 1000000;

	if (now < feedback->next_second)
		return;
	feedback->next_second = now + 1000000;
	conntrack_settings_read(&feedback->settings);
	watch_room(feedback);
	measure_cpu(feedback, elapsed);
	publish(feedback, elapsed);
	settle_source(feedback);
}

static void on_tick(evutil_socket_t fd, short what, void *data)
{
	struct feedback *feedback = data;
	const uint64_t begin = feedback_cpu(), now = feedback_now();

	(void)fd;
	(void)what;
	feedback_take_decisions(feedback, now);
	feedback_take_untold(feedback);
	track_advance(feedback->track, now);
	if (feedback->status.source != FEEDBACK_OFF) {
		feedback_resync_if_needed(feedback, now);
		feedback_step_look(feedback, now);
	}
	feedback->cpu_us += feedback_cpu() - begin;
	keep_budget(feedback, now);
	every_second(feedback, feedback_now());
}

/* ---- life ---- */

struct feedback *feedback_new(struct daemon *daemon)
{
	struct feedback *feedback = calloc(1, sizeof(*feedback));

	if (!feedback)
		return NULL;
	feedback->daemon = daemon;
	feedback->timer = -1;
	feedback->load = daemon->shared.load;
	budget_init(&feedback->budget, feedback_now());
	feedback->status.why = "";
	feedback->track = track_new(feedback->load, MAX_FLOWS);
	feedback->tick = event_new(daemon->base, -1, EV_PERSIST, on_tick, feedback);
	if (!feedback->track || !feedback->tick || !feedback_events_init(feedback)) {
		feedback_free(feedback);
		return NULL;
	}
	return feedback;
}

void feedback_start(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data),
		    void *data)
{
	const struct timeval every = { 0, FEEDBACK_TICK_US };

	conntrack_settings_read(&feedback->settings);
	settle_source(feedback);
	feedback->resync = !feedback_resync(feedback, each, data);
	feedback->next_second = feedback_now() + 1000000;
	event_add(feedback->tick, &every);
}

void feedback_free(struct feedback *feedback)
{
	if (!feedback)
		return;
	feedback_events_release(feedback);
	conntrack_dump_free(feedback->look);
	if (feedback->tick)
		event_free(feedback->tick);
	track_free(feedback->track);
	free(feedback);
}

/* ---- for others to read ---- */

struct feedback_status feedback_status(const struct feedback *feedback)
{
	struct feedback_status status = { .why = "" };

	if (!feedback)
		return status;
	status = feedback->status;
	status.memory = track_memory(feedback->track);
	return status;
}

struct track_link feedback_link(const struct feedback *feedback, unsigned link)
{
	return feedback ? track_link(feedback->track, link) : (struct track_link){ 0 };
}

struct track_totals feedback_totals(const struct feedback *feedback)
{
	return feedback ? track_totals(feedback->track) : (struct track_totals){ 0 };
}

const char *feedback_source_name(enum feedback_source source)
{
	static const char *const names[] = {
		[FEEDBACK_OFF] = "off",
		[FEEDBACK_SAMPLES] = "samples",
		[FEEDBACK_EVENTS] = "events",
	};

	_Static_assert(sizeof(names) / sizeof(names[0]) == FEEDBACK_SOURCES, "a name for each source");
	return names[source];
}
