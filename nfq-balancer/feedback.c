/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback.c - decisions and events -> policy/track.h
 *
 * Theory of operation. A worker tells a decision before it sends the verdict, so the
 * kernel's event of a flow always follows its decision; the rings are emptied before
 * each event, and thus an event without a decision is the fallback's, or inbound.
 *
 * The whole table is looked at
 *   at once        at the start, and after the kernel dropped events: the counts have to
 *                  be right again soon. Events wait meanwhile and are replayed on the result.
 *   part by part   every few seconds: finds idle connections and mends what went wrong.
 *
 * What events cost is measured (here) and estimated (in the kernel). Beyond the budget they are given up at once,
 * for a while (budget.h); looks go on, as many as fit.
 */
#include "nfq-balancer/feedback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conntrack/events.h"
#include "conntrack/meaning.h"
#include "nfq-balancer/budget.h"
#include "nfq-balancer/daemon.h"
#include "nfq-balancer/delay.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/sampler.h"

#define MAX_FLOWS (UINT32_C(1) << 20)
#define EVENT_BUFFER (32 << 20) /* bytes: about a second of events at 5,000 flows/s */
#define EVENTS_AT_ONCE 1024 /* then timers and the control socket have a turn */
#define TICK_US 20000
#define LOOK_EVERY_US UINT64_C(5000000) /* from the end of a look to the begin of the next */
#define RESYNC_PAUSE_US UINT64_C(100000)
#define KERNEL_EVENT_NS 1500 /* of a processor, to make an event and hand it over; measured */

struct feedback {
	struct daemon *daemon;
	struct load *load;
	struct track *track;
	struct conntrack_events *events; /* NULL: not subscribed */
	struct event *readable, *tick;
	struct conntrack_dump *look; /* a paced look that runs, or NULL */
	uint64_t next_look, next_resync; /* us, monotonic */
	uint64_t next_second;
	bool resync; /* events were lost: look at everything */
	uint32_t untold[CONFIG_MAX_QUEUES][CONFIG_MAX_LINKS]; /* as last seen */
	struct conntrack_settings settings;
	struct feedback_status status;
	struct delay delay; /* from events in the kernel to their counts */
	/* processor time */
	uint64_t cpu_us; /* in this second */
	struct budget budget; /* of what events cost */
	uint64_t decided, decided_second; /* taken from the rings since the last tick, and in this second */
	/* rates */
	uint64_t departed; /* at the last second */
	uint32_t departures; /* per second, moving average */
};

/* ---- clocks ---- */

static uint64_t clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

static uint64_t cpu_begin(void)
{
	return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

static void cpu_end(struct feedback *feedback, uint64_t begin)
{
	feedback->cpu_us += clock_us(CLOCK_THREAD_CPUTIME_ID) - begin;
}

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

static void take_decisions(struct feedback *feedback, uint64_t now)
{
	struct daemon *daemon = feedback->daemon;
	struct steered steered;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		struct steered_ring *ring = worker_steered(daemon->workers[i]);

		while (steered_take(ring, &steered)) {
			track_decided(feedback->track, steered.key, steered.link, now);
			feedback->decided++;
		}
	}
}

/* ---- entries ---- */

static bool read_flow(const struct feedback *feedback, const struct conntrack_entry *entry, struct track_flow *out)
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

/* From what happened in the kernel to now. Older kernels tell the time of an entry's end only. */
static void measure_delay(struct feedback *feedback, const struct conntrack_entry *entry)
{
	const uint64_t then = (entry->happened ? entry->happened : entry->stopped) / 1000;
	uint64_t now;

	if (!then)
		return;
	now = clock_us(CLOCK_REALTIME);
	/* the clock may have been set in between */
	if (now >= then && now - then < 100000000)
		delay_add(&feedback->delay, (uint32_t)(now - then));
}

static void on_event(enum conntrack_event kind, const struct conntrack_entry *entry, void *data)
{
	struct feedback *feedback = data;
	const uint64_t now = now_us();
	struct track_flow flow;

	feedback->status.events++;
	measure_delay(feedback, entry);
	take_decisions(feedback, now);
	if (!read_flow(feedback, entry, &flow)) {
		track_foreign(feedback->track, flow.key, flow.id);
	} else if (kind == CONNTRACK_DESTROY) {
		const struct track_end end = conntrack_end(entry, &feedback->settings);

		track_ended(feedback->track, &flow, &end);
	} else {
		track_changed(feedback->track, &flow, now);
	}
}

static void on_look(const struct conntrack_entry *entry, void *data)
{
	struct feedback *feedback = data;
	struct track_flow flow;

	if (!read_flow(feedback, entry, &flow))
		return;
	flow.quiet = conntrack_quiet(entry, &feedback->settings);
	track_look(feedback->track, &flow, now_us());
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

static void stop_look(struct feedback *feedback)
{
	conntrack_dump_free(feedback->look);
	feedback->look = NULL;
	feedback->next_look = now_us() + LOOK_EVERY_US;
}

/* The kernel has made the part that comes before it is asked for it. So the decisions about its entries are in the
 * rings by then: taken first, none is mistaken for a ghost. */
static int read_part(struct feedback *feedback, struct conntrack_dump *dump, conntrack_each *each, void *data)
{
	take_decisions(feedback, now_us());
	return conntrack_dump_read(dump, each, data);
}

/* With events, a paced look reads about a hundred entries each tick; instead of events, as many as the budget allows */
static bool may_look_on(const struct feedback *feedback, uint64_t begin)
{
	const unsigned percent = policy_config(feedback->daemon->policy)->feedback_budget;

	return !feedback->events && (clock_us(CLOCK_THREAD_CPUTIME_ID) - begin) * 100 < TICK_US * percent;
}

/* A part of the paced look; the next look starts in its time */
static void step_look(struct feedback *feedback, uint64_t now)
{
	const uint64_t begin = cpu_begin();
	int more;

	if (!feedback->look && now >= feedback->next_look) {
		feedback->look = begin_look(feedback, true);
		if (!feedback->look)
			stop_look(feedback);
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
	stop_look(feedback);
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
static bool resync(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data), void *data)
{
	struct listener listener = { feedback, each, data };
	struct conntrack_dump *dump;
	int more = 1;

	stop_look(feedback);
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

/* ---- events ---- */

/* True: no event is waiting */
static bool hear_events(struct feedback *feedback)
{
	const uint64_t begin = cpu_begin(), events = feedback->status.events;
	const int n = conntrack_events_read(feedback->events, EVENTS_AT_ONCE, on_event, feedback);

	budget_spend(&feedback->budget, clock_us(CLOCK_THREAD_CPUTIME_ID) - begin +
						(feedback->status.events - events) * KERNEL_EVENT_NS / 1000);
	if (n >= 0)
		return n < EVENTS_AT_ONCE;
	if (errno == ENOBUFS) {
		if (feedback->status.overruns++ == 0)
			log_warning("feedback: the kernel dropped events, looking at all connections");
		feedback->resync = true;
	} else {
		log_error("feedback: reading events: %s", strerror(errno));
	}
	return false;
}

static void on_readable(evutil_socket_t fd, short what, void *data);

static void unsubscribe(struct feedback *feedback)
{
	if (feedback->readable)
		event_free(feedback->readable);
	feedback->readable = NULL;
	if (feedback->events)
		conntrack_events_close(feedback->events);
	feedback->events = NULL;
}

static bool subscribe(struct feedback *feedback)
{
	const uint32_t settled = config_mark_settled(policy_config(feedback->daemon->policy)->mask);

	feedback->events = conntrack_events_open(settled, settled, EVENT_BUFFER);
	if (!feedback->events)
		return false;
	feedback->readable = event_new(feedback->daemon->base, conntrack_events_fd(feedback->events),
				       EV_READ | EV_PERSIST, on_readable, feedback);
	if (feedback->readable && event_add(feedback->readable, NULL) == 0)
		return true;
	unsubscribe(feedback);
	errno = ENOMEM;
	return false;
}

/*
 * Events that wait are older than the lost ones: heard after the look they would bring back flows that are gone; heard
 * before it they would cost as much as the look itself, for nothing. So they go with their socket, and a new one is
 * there before the table is read. What it hears meanwhile is replayed on the look's result.
 */
static void resync_if_needed(struct feedback *feedback, uint64_t now)
{
	if (!feedback->resync || now < feedback->next_resync)
		return;
	if (feedback->events) {
		unsubscribe(feedback);
		subscribe(feedback); /* without success: settle_source() has the next try */
	}
	feedback->status.resyncs++;
	feedback->resync = !resync(feedback, NULL, NULL);
	feedback->next_resync = now_us() + RESYNC_PAUSE_US + (now_us() - now);
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
	struct feedback *feedback = data;
	const uint64_t begin = cpu_begin();

	(void)fd;
	(void)what;
	hear_events(feedback);
	resync_if_needed(feedback, now_us());
	cpu_end(feedback, begin);
}

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
		if (subscribe(feedback)) {
			feedback->resync = true;
		} else {
			source = FEEDBACK_SAMPLES;
			why = strerror(errno);
		}
	} else if (source != FEEDBACK_EVENTS && feedback->events) {
		unsubscribe(feedback);
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
		stop_look(feedback);
		track_look_begin(feedback->track, false);
		track_look_end(feedback->track);
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
		const uint32_t rtt = track_link(feedback->track, i).rtt_us;
		const uint64_t before = atomic_load_explicit(&daemon->runtime.bits_down[i], memory_order_relaxed);
		const uint64_t now = sampler_link(daemon->sampler, i).rx_bits_now;
		/* up at once, down slowly: a pause must not look like an idle link */
		const uint64_t bits = before > now ? (before + now) / 2 : now;

		atomic_store_explicit(&daemon->runtime.rtt_us[i], rtt, memory_order_relaxed);
		atomic_store_explicit(&daemon->runtime.bits_down[i], bits, memory_order_relaxed);
		atomic_store_explicit(&daemon->runtime.sending[i], load_sending(feedback->load, i),
				      memory_order_relaxed);
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
	const uint64_t begin = cpu_begin(), now = now_us();

	(void)fd;
	(void)what;
	take_decisions(feedback, now);
	for (unsigned i = 0; i < feedback->daemon->n_workers; i++)
		take_untold(feedback, i, worker_steered(feedback->daemon->workers[i]));
	track_advance(feedback->track, now);
	if (feedback->status.source != FEEDBACK_OFF) {
		resync_if_needed(feedback, now);
		step_look(feedback, now);
	}
	cpu_end(feedback, begin);
	keep_budget(feedback, now);
	every_second(feedback, now_us());
}

/* ---- life ---- */

struct feedback *feedback_new(struct daemon *daemon)
{
	struct feedback *feedback = calloc(1, sizeof(*feedback));

	if (!feedback)
		return NULL;
	feedback->daemon = daemon;
	feedback->load = daemon->shared.load;
	budget_init(&feedback->budget, now_us());
	feedback->status.why = "";
	feedback->track = track_new(feedback->load, MAX_FLOWS);
	feedback->tick = event_new(daemon->base, -1, EV_PERSIST, on_tick, feedback);
	if (!feedback->track || !feedback->tick) {
		feedback_free(feedback);
		return NULL;
	}
	return feedback;
}

void feedback_start(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data),
		    void *data)
{
	const struct timeval every = { 0, TICK_US };

	conntrack_settings_read(&feedback->settings);
	settle_source(feedback);
	feedback->resync = !resync(feedback, each, data);
	feedback->next_second = now_us() + 1000000;
	event_add(feedback->tick, &every);
}

void feedback_free(struct feedback *feedback)
{
	if (!feedback)
		return;
	unsubscribe(feedback);
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
