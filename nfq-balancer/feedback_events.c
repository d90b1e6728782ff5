/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback_events.c - the kernel's events -> policy/track.h
 *
 * Theory of operation. To be woken costs more than an event itself, and it is the new
 * connection that pays: the kernel wakes this thread in the middle of forwarding its
 * packet, on its processor. So while events come the socket is not polled; a timer looks
 * at it every feedback-interval, and reads what has gathered. It looks less and less often
 * while nothing comes: news of few connections may be older, of many they may not. When
 * none has come for a while the timer stops, and the socket is polled again: an idle
 * router is left in peace.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/feedback_private.h"
#include "nfq-balancer/log.h"

#define EVENT_BUFFER (32 << 20) /* bytes: about a second of events at 5,000 flows/s */
#define EVENTS_AT_ONCE 1024 /* then timers and the control socket have a turn */
#define CALM_US 20000 /* without an event: poll again */
#define LONGEST_US 1000 /* from look to look, unless feedback-interval itself is longer */
#define RESYNC_PAUSE_US UINT64_C(100000)
/* Of a processor, for each event that is heard: 1000 to make one and hand it over (measured), and a
 * TCP connection has two that the socket's filter drops beside the four that are heard */
#define KERNEL_EVENT_NS 1500
#define OLD_US 1000000 /* how long before now an event may have happened, for timers */

/* ---- a batch of events ---- */

struct heard {
	struct track_flow flow;
	struct track_end end; /* of CONNTRACK_DESTROY */
	uint64_t happened; /* us since 1970; 0: unknown */
	enum conntrack_event kind;
	bool ours; /* it belongs to a link */
};

struct batch {
	struct feedback *feedback;
	unsigned n;
	struct heard heard[CONNTRACK_EVENTS_BATCH];
};

static void gather(enum conntrack_event kind, const struct conntrack_entry *entry, void *data)
{
	struct batch *batch = data;
	struct heard *heard = &batch->heard[batch->n];

	heard->kind = kind;
	heard->ours = feedback_read_flow(batch->feedback, entry, &heard->flow);
	/* older kernels tell the time of an entry's end only */
	heard->happened = (entry->happened ? entry->happened : entry->stopped) / 1000;
	if (kind == CONNTRACK_DESTROY)
		heard->end = conntrack_end(entry, &batch->feedback->settings);
	track_prefetch_bucket(batch->feedback->track, heard->flow.key);
	batch->n++;
}

/* By the monotonic clock, as near as is known; the clock of the day may have been set in between */
static uint64_t happened_at(const struct heard *heard, uint64_t now, uint64_t now_day)
{
	const uint64_t age = now_day - heard->happened;

	if (!heard->happened || heard->happened > now_day)
		return now;
	return now - (age < OLD_US ? age : OLD_US);
}

static void follow(struct feedback *feedback, const struct heard *heard, uint64_t when)
{
	if (!heard->ours)
		track_foreign(feedback->track, heard->flow.key, heard->flow.id);
	else if (heard->kind == CONNTRACK_DESTROY)
		track_ended(feedback->track, &heard->flow, &heard->end);
	else
		track_changed(feedback->track, &heard->flow, when);
}

static void measure_delay(struct feedback *feedback, const struct batch *batch)
{
	const uint64_t now = feedback_clock(CLOCK_REALTIME);

	for (unsigned i = 0; i < batch->n; i++) {
		const uint64_t then = batch->heard[i].happened;

		if (then && now >= then && now - then < 100000000)
			delay_add(&feedback->delay, (uint32_t)(now - then));
	}
}

/* What was received. Decisions about it are in the rings by now, and are taken first. */
static void hear_batch(struct feedback *feedback)
{
	const uint64_t now = feedback_now(), now_day = feedback_clock(CLOCK_REALTIME);
	struct batch batch = { .feedback = feedback };

	conntrack_events_each(feedback->events, gather, &batch);
	feedback_take_decisions(feedback, now);
	for (unsigned i = 0; i < batch.n; i++)
		track_prefetch_entry(feedback->track, batch.heard[i].flow.key);
	for (unsigned i = 0; i < batch.n; i++)
		follow(feedback, &batch.heard[i], happened_at(&batch.heard[i], now, now_day));
	feedback->status.events += batch.n;
	measure_delay(feedback, &batch);
}

static void report_failure(struct feedback *feedback)
{
	if (errno != ENOBUFS) {
		log_error("feedback: reading events: %s", strerror(errno));
		return;
	}
	if (feedback->status.overruns++ == 0)
		log_warning("feedback: the kernel dropped events, looking at all connections");
	feedback->resync = true;
}

/* At most EVENTS_AT_ONCE. How many; -1: none, and failed */
static int hear_events(struct feedback *feedback)
{
	int n = 0, got;

	do {
		got = conntrack_events_receive(feedback->events);
		if (got < 0) {
			report_failure(feedback);
			return n ? n : -1;
		}
		if (got > 0)
			hear_batch(feedback);
		n += got;
	} while (got == CONNTRACK_EVENTS_BATCH && n < EVENTS_AT_ONCE);
	return n;
}

/* ---- when events are heard ---- */

static void set_timer(struct feedback *feedback, uint64_t us)
{
	const struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000 },
	};

	timerfd_settime(feedback->timer, 0, &when, NULL);
}

static bool wait_for_event(struct feedback *feedback)
{
	set_timer(feedback, 0);
	feedback->polled = event_add(feedback->readable, NULL) == 0;
	return feedback->polled;
}

static void wait_for_time(struct feedback *feedback, uint32_t us)
{
	event_del(feedback->readable);
	feedback->polled = false;
	set_timer(feedback, us);
}

/* Until the next look: feedback-interval after news, and twice as long from one look in vain to the next */
static uint32_t next_pause(const struct feedback *feedback, int n)
{
	const uint32_t interval = policy_config(feedback->daemon->policy)->feedback_interval;
	const uint32_t longest = interval > LONGEST_US ? interval : LONGEST_US;

	if (n > 0 || feedback->pause < interval)
		return interval;
	return 2 * feedback->pause < longest ? 2 * feedback->pause : longest;
}

/* `n` events have just been heard */
static void wait_for_next(struct feedback *feedback, int n, uint64_t now)
{
	const bool at_once = policy_config(feedback->daemon->policy)->feedback_interval == 0;

	if (n > 0)
		feedback->heard = now;
	feedback->pause = next_pause(feedback, n);
	if (!at_once && n < EVENTS_AT_ONCE && now - feedback->heard < CALM_US)
		wait_for_time(feedback, feedback->pause);
	else if (!feedback->polled && !wait_for_event(feedback))
		set_timer(feedback, CALM_US);
}

static void on_due(evutil_socket_t fd, short what, void *data)
{
	struct feedback *feedback = data;
	const uint64_t begin = feedback_cpu();
	int n;

	(void)fd;
	(void)what;
	if (!feedback->events)
		return;
	n = hear_events(feedback);
	const uint64_t now = feedback_now(), used = feedback_cpu() - begin;

	feedback->cpu_us += used;
	budget_spend(&feedback->budget, used + (n > 0 ? (uint64_t)n * KERNEL_EVENT_NS / 1000 : 0));
	wait_for_next(feedback, n, now);
	if (!feedback->resync)
		return;
	feedback_resync_if_needed(feedback, now);
	feedback->cpu_us += feedback_cpu() - begin - used;
}

/* ---- the subscription ---- */

void feedback_unsubscribe(struct feedback *feedback)
{
	set_timer(feedback, 0);
	feedback->polled = false;
	if (feedback->readable)
		event_free(feedback->readable);
	feedback->readable = NULL;
	if (feedback->events)
		conntrack_events_close(feedback->events);
	feedback->events = NULL;
}

bool feedback_subscribe(struct feedback *feedback)
{
	const uint32_t settled = config_mark_settled(policy_config(feedback->daemon->policy)->mask);

	feedback->events = conntrack_events_open(settled, settled, EVENT_BUFFER);
	if (!feedback->events)
		return false;
	feedback->readable = event_new(feedback->daemon->base, conntrack_events_fd(feedback->events),
				       EV_READ | EV_PERSIST, on_due, feedback);
	if (feedback->readable && wait_for_event(feedback))
		return true;
	feedback_unsubscribe(feedback);
	errno = ENOMEM;
	return false;
}

/*
 * Events that wait are older than the lost ones: heard after the look they would bring back flows that are gone; heard
 * before it they would cost as much as the look itself, for nothing. So they go with their socket, and a new one is
 * there before the table is read. What it hears meanwhile is replayed on the look's result.
 */
void feedback_resync_if_needed(struct feedback *feedback, uint64_t now)
{
	if (!feedback->resync || now < feedback->next_resync)
		return;
	if (feedback->events) {
		feedback_unsubscribe(feedback);
		feedback_subscribe(feedback); /* without success: settle_source() has the next try */
	}
	feedback->status.resyncs++;
	feedback->resync = !feedback_resync(feedback, NULL, NULL);
	feedback->next_resync = feedback_now() + RESYNC_PAUSE_US + (feedback_now() - now);
}

bool feedback_events_init(struct feedback *feedback)
{
	feedback->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (feedback->timer < 0)
		return false;
	feedback->due = event_new(feedback->daemon->base, feedback->timer, EV_READ | EV_PERSIST, on_due, feedback);
	return feedback->due && event_add(feedback->due, NULL) == 0;
}

void feedback_events_release(struct feedback *feedback)
{
	feedback_unsubscribe(feedback);
	if (feedback->due)
		event_free(feedback->due);
	if (feedback->timer >= 0)
		close(feedback->timer);
}
