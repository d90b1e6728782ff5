/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback_private.h - between the parts of feedback: what is kept, and who does what
 *
 *   feedback.c         where counts come from, what they may cost, every second
 *   feedback_events.c  events: the subscription, when they are heard
 *   feedback_flows.c   decisions, looks at the table
 */
#ifndef NFQB_FEEDBACK_PRIVATE_H
#define NFQB_FEEDBACK_PRIVATE_H

#include <time.h>

#include "conntrack/events.h"
#include "conntrack/meaning.h"
#include "nfq-balancer/budget.h"
#include "nfq-balancer/delay.h"
#include "nfq-balancer/feedback.h"

#define FEEDBACK_TICK_US 20000

struct event;

struct feedback {
	struct daemon *daemon;
	struct load *load;
	struct track *track;
	struct conntrack_events *events; /* NULL: not subscribed */
	struct event *readable, *due, *tick;
	int timer; /* its events are `due` */
	bool polled; /* an event wakes us at once; else the timer does */
	uint64_t heard; /* us, monotonic: the last event */
	uint32_t pause; /* us, from the last look to this one */
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

static inline uint64_t feedback_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline uint64_t feedback_now(void)
{
	return feedback_clock(CLOCK_MONOTONIC);
}

/* Processor time of this thread */
static inline uint64_t feedback_cpu(void)
{
	return feedback_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* ---- feedback_flows.c ---- */

/* What workers have decided until now */
void feedback_take_decisions(struct feedback *feedback, uint64_t now);
void feedback_take_untold(struct feedback *feedback);

/* False: the entry belongs to no link; key and id are set all the same */
bool feedback_read_flow(const struct feedback *feedback, const struct conntrack_entry *entry, struct track_flow *out);

/* A part of the paced look; the next look starts in its time */
void feedback_step_look(struct feedback *feedback, uint64_t now);
void feedback_stop_look(struct feedback *feedback);
/* The whole table at once; `each` (may be NULL) gets every entry, too */
bool feedback_resync(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data),
		     void *data);

/* ---- feedback_events.c ---- */

bool feedback_events_init(struct feedback *feedback);
void feedback_events_release(struct feedback *feedback);
bool feedback_subscribe(struct feedback *feedback); /* false: errno */
void feedback_unsubscribe(struct feedback *feedback);
void feedback_resync_if_needed(struct feedback *feedback, uint64_t now);

#endif
