/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/feedback.h - the kernel's connections, followed: which flows are sending
 *
 * Feeds policy/track.h from conntrack events and the workers' decisions. Control
 * thread only; workers see the result in struct load. Where events are not to be had
 * (sysctl, processor budget), the whole table is looked at from time to time instead.
 */
#ifndef NFQB_FEEDBACK_H
#define NFQB_FEEDBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/track.h"

struct daemon;
struct conntrack_entry;
struct feedback;

enum feedback_source {
	FEEDBACK_OFF, /* decisions count for two seconds, nothing else is known */
	FEEDBACK_SAMPLES, /* the table, looked at as often as the budget allows */
	FEEDBACK_EVENTS,
	FEEDBACK_SOURCES
};

struct feedback_status {
	enum feedback_source source;
	const char *why; /* of anything but events: "" when that is as configured */
	uint32_t cpu_permille; /* of one processor, over the last second */
	/* from an event in the kernel to its count, over the last seconds: median and 99th percentile; 0: unknown */
	uint32_t delay_us, delay_p99_us;
	uint64_t events; /* handled */
	uint64_t overruns; /* times that the kernel dropped events */
	uint64_t resyncs; /* looks at the whole table to make up for that */
	uint64_t looks; /* all of them */
	uint64_t over_budget; /* times that events were given up for samples */
	uint64_t untold; /* decisions that did not fit the ring */
	uint64_t memory; /* bytes */
	/* the kernel's table of connections: entries, how many fit (0: unknown), and whether it is nearly full */
	uint32_t entries, room;
	bool crowded;
};

/* Before the workers start; registers its events with daemon->base. NULL: out of memory */
struct feedback *feedback_new(struct daemon *daemon);
void feedback_free(struct feedback *feedback);

/* Subscribe, and build the counts from what the kernel has now. `each` (may be NULL) gets
 * every entry of that dump too. */
void feedback_start(struct feedback *feedback, void (*each)(const struct conntrack_entry *entry, void *data),
		    void *data);

/* All zero while `feedback` is NULL */
struct feedback_status feedback_status(const struct feedback *feedback);
struct track_link feedback_link(const struct feedback *feedback, unsigned link);
struct track_totals feedback_totals(const struct feedback *feedback);
const char *feedback_source_name(enum feedback_source source);

#endif
