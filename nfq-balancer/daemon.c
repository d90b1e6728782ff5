/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/daemon.c - the control thread: opening, events, leaving
 *
 * libevent turns signals, rtnetlink and two timers into calls of the modules; the
 * control socket hangs on the same loop. Nothing here runs in a worker.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "conntrack/table.h"
#include "nfq-balancer/daemon.h"
#include "nfq-balancer/fallback.h"
#include "nfq-balancer/feedback.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/notify.h"
#include "nfq-balancer/pin.h"
#include "nfq-balancer/queue.h"
#include "nfq-balancer/routes.h"
#include "nfq-balancer/snapshot.h"

#define LOOK_EVERY 30 /* s: at all links, whatever events say */

static const struct config *running(const struct daemon *daemon)
{
	return policy_config(daemon->policy);
}

static uint64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- links and routes ---- */

static void sync_links(struct daemon *daemon, uint64_t which)
{
	for (unsigned i = 0; i < running(daemon)->n_links; i++) {
		if (which & UINT64_C(1) << i)
			routes_sync_link(daemon->rtnl, &daemon->links, i, daemon->rules_active);
	}
}

struct seen_events {
	struct daemon *daemon;
	uint64_t concerned;
};

static void take_event(const struct rtnl_object *object, void *data)
{
	struct seen_events *seen = data;
	struct snapshot *snapshot = atomic_load(&seen->daemon->shared.snapshot);

	seen->concerned |= routes_concerned(&seen->daemon->links, object);
	if (object->kind == RTNL_INTERFACE)
		snapshot_set_iface(snapshot, (unsigned)object->ifindex, object->gone ? NULL : object->name);
}

/* Are the rules in place? True when that has changed since the last look. */
static bool look_at_rules(struct daemon *daemon)
{
	bool active = kernel_rules_active(running(daemon));

	if (active == daemon->rules_active)
		return false;
	log_info(active ? "the rules are in place" : "the rules are gone: nothing is steered");
	daemon->rules_active = active;
	return true;
}

void daemon_look_at_links(struct daemon *daemon)
{
	/* first: what stop takes away must not be put back */
	look_at_rules(daemon);
	sync_links(daemon, UINT64_MAX);
}

static void on_rtnetlink(evutil_socket_t fd, short what, void *data)
{
	struct daemon *daemon = data;
	struct seen_events seen = { daemon, 0 };

	(void)fd;
	(void)what;
	if (!rtnl_read_events(daemon->rtnl, take_event, &seen)) {
		log_info("rtnetlink events were lost (%s): looking at all interfaces", strerror(errno));
		seen.concerned = UINT64_MAX;
		snapshot_scan_ifaces(atomic_load(&daemon->shared.snapshot));
	}
	/* looked at first, as above */
	if (seen.concerned && look_at_rules(daemon))
		seen.concerned = UINT64_MAX;
	sync_links(daemon, seen.concerned);
	fallback_follow(daemon->fallback, monotonic_ms());
}

static void keep_traffic(const struct rtnl_object *object, void *data)
{
	struct daemon *daemon = data;

	for (size_t i = 0; i < running(daemon)->n_links; i++) {
		struct link_status *status = &daemon->links.status[i];

		if (status->ifindex == object->ifindex) {
			status->rx_bytes = object->rx_bytes;
			status->tx_bytes = object->tx_bytes;
		}
	}
}

/* ---- timers and signals ---- */

static bool worker_lost(const struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->n_workers; i++) {
		if (worker_failed(daemon->workers[i]))
			return true;
	}
	return false;
}

/* Each look asks anew and changes only differences: a request that failed is made good by the next */
static bool look_is_due(struct daemon *daemon)
{
	return look_at_rules(daemon) || ++daemon->seconds % LOOK_EVERY == 0;
}

static void on_second(evutil_socket_t fd, short what, void *data)
{
	struct daemon *daemon = data;

	(void)fd;
	(void)what;
	if (look_is_due(daemon))
		sync_links(daemon, UINT64_MAX);
	rtnl_interfaces(daemon->rtnl, keep_traffic, daemon);
	sampler_tick(daemon->sampler, monotonic_ms());
	fallback_tick(daemon->fallback, monotonic_ms());
	if (worker_lost(daemon)) {
		log_error("a worker lost its queue: leaving, so that the service manager starts afresh");
		daemon->failed = true;
		event_base_loopbreak(daemon->base);
	}
}

static void on_watchdog(evutil_socket_t fd, short what, void *data)
{
	(void)fd;
	(void)what;
	(void)data;
	notify_send("WATCHDOG=1");
}

static void on_leave(evutil_socket_t signal_number, short what, void *data)
{
	struct daemon *daemon = data;

	(void)what;
	log_info("signal %d: leaving", (int)signal_number);
	event_base_loopbreak(daemon->base);
}

static void on_reload(evutil_socket_t signal_number, short what, void *data)
{
	struct config_messages errors = { NULL, 0 };

	(void)signal_number;
	(void)what;
	if (!daemon_reload(data, &errors))
		log_error("the running policy stays: %zu error%s in the configuration", errors.n,
			  errors.n == 1 ? "" : "s");
	config_messages_free(&errors);
}

static uint64_t sum_over_workers(const struct daemon *daemon, size_t offset)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		const char *counters = (const char *)worker_counters(daemon->workers[i]);

		sum += atomic_load_explicit((const _Atomic uint64_t *)(const void *)(counters + offset),
					    memory_order_relaxed);
	}
	return sum;
}

static void on_statistics(evutil_socket_t signal_number, short what, void *data)
{
	const struct daemon *daemon = data;
	const struct config *config = running(daemon);
	struct kernel_queues queues = daemon_kernel_queues(daemon);

	(void)signal_number;
	(void)what;
	log_info("packets %" PRIu64 ", batches %" PRIu64 ", refused %" PRIu64 ", waiting %" PRIu64 ", lost %" PRIu64,
		 sum_over_workers(daemon, offsetof(struct worker_counters, packets)),
		 sum_over_workers(daemon, offsetof(struct worker_counters, batches)),
		 sum_over_workers(daemon, offsetof(struct worker_counters, errors)), queues.waiting, queues.dropped);
	for (size_t i = 0; i < config->n_links; i++)
		log_info("link %s: %s, weight %u, new flows %" PRIu64, config->links[i].name,
			 link_state_name(daemon->links.status[i].state),
			 link_runtime_weight(&daemon->runtime, (unsigned)i),
			 sum_over_workers(daemon, offsetof(struct worker_counters, links[i])));
}

static bool add_event(struct daemon *daemon, int fd, short what, event_callback_fn callback, uint64_t ms)
{
	struct timeval every = { (time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000 };
	struct event *event = event_new(daemon->base, fd, (short)(what | EV_PERSIST), callback, daemon);

	if (!event || event_add(event, ms ? &every : NULL) != 0)
		return false;
	daemon->events[daemon->n_events++] = event;
	return true;
}

static bool add_events(struct daemon *daemon)
{
	uint64_t watchdog = notify_watchdog_ms();

	signal(SIGPIPE, SIG_IGN);
	return add_event(daemon, rtnl_event_fd(daemon->rtnl), EV_READ, on_rtnetlink, 0) &&
	       add_event(daemon, -1, EV_TIMEOUT, on_second, 1000) &&
	       add_event(daemon, SIGTERM, EV_SIGNAL, on_leave, 0) &&
	       add_event(daemon, SIGINT, EV_SIGNAL, on_leave, 0) &&
	       add_event(daemon, SIGHUP, EV_SIGNAL, on_reload, 0) &&
	       add_event(daemon, SIGUSR1, EV_SIGNAL, on_statistics, 0) &&
	       (!watchdog || add_event(daemon, -1, EV_TIMEOUT, on_watchdog, watchdog));
}

/* ---- opening ---- */

bool daemon_init(struct daemon *daemon, struct config *config, char *error, size_t size)
{
	memset(daemon, 0, sizeof(*daemon));
	daemon->queues_fd = -1;
	daemon->policy = policy_compile(config);
	struct snapshot *snapshot = daemon->policy ? snapshot_new(daemon->policy) : NULL;

	daemon->base = event_base_new();
	if (!snapshot || !daemon->base) {
		snprintf(error, size, "out of memory");
		return false;
	}
	daemon->sticky = sticky_new(running(daemon)->sticky_entries);
	daemon->sampler = sampler_new(daemon);
	if (!daemon->sticky || !daemon->sampler) {
		snprintf(error, size, "out of memory");
		return false;
	}
	link_runtime_init(&daemon->runtime, running(daemon));
	links_init(&daemon->links, running(daemon), &daemon->runtime);
	atomic_store(&daemon->shared.snapshot, snapshot);
	daemon->shared.runtime = &daemon->runtime;
	daemon->shared.sticky = daemon->sticky;
	daemon->shared.load = &daemon->load;
	daemon->load.workers = running(daemon)->queues;
	daemon->started = daemon->policy_loaded = (uint64_t)time(NULL);
	if (getrandom(daemon->shared.hash_key, sizeof(daemon->shared.hash_key), 0) < 0) {
		snprintf(error, size, "getrandom: %s", strerror(errno));
		return false;
	}
	return true;
}

static bool choose_commit(struct daemon *daemon, int forced, char *error, size_t size)
{
	int probed = queue_probe_conntrack(running(daemon)->queue_first);

	if (probed < 0) {
		snprintf(error, size,
			 "this kernel has no nfnetlink_queue (CONFIG_NETFILTER_NETLINK_QUEUE), or refuses it: %s",
			 strerror(errno));
		return false;
	}
	if (forced == COMMIT_VERDICT && !probed) {
		snprintf(error, size,
			 "--commit=verdict: this kernel ignores the conntrack mark in a verdict "
			 "(CONFIG_NETFILTER_NETLINK_GLUE_CT)");
		return false;
	}
	daemon->commit = forced >= 0 ? (enum commit_path)forced : probed ? COMMIT_VERDICT : COMMIT_CHAIN;
	daemon->shared.verdict_carries_ct = daemon->commit == COMMIT_VERDICT;
	return true;
}

static bool open_workers(struct daemon *daemon, char *error, size_t size)
{
	const struct config *config = running(daemon);

	if (!pin_check(&config->pin, error, size))
		return false;
	for (unsigned i = 0; i < config->queues; i++) {
		struct queue *queue =
			queue_open(config->queue_first + i, config->queue_length, config->fallback, error, size);

		if (!queue)
			return false;
		daemon->workers[i] = worker_new(queue, i, &daemon->shared);
		if (!daemon->workers[i]) {
			snprintf(error, size, "out of memory");
			return false;
		}
		daemon->n_workers++;
	}
	return true;
}

bool daemon_open_kernel(struct daemon *daemon, int forced, char *error, size_t size)
{
	daemon->rtnl = rtnl_open(error, size);
	if (!daemon->rtnl || !choose_commit(daemon, forced, error, size) || !open_workers(daemon, error, size))
		return false;
	/* after the queues: the first one may have loaded the module whose file this is */
	daemon->queues_fd = kernel_queues_open();
	if (daemon->queues_fd < 0)
		log_warning("lost packets cannot be counted: /proc/net/netfilter/nfnetlink_queue: %s", strerror(errno));
	return true;
}

/* ---- starting and leaving ---- */

static void learn_entry(const struct conntrack_entry *entry, void *data)
{
	struct daemon *daemon = data;
	const struct config *config = running(daemon);
	struct decider decider = *worker_decider(daemon->workers[0]);
	unsigned id = config_mark_id(config->mask, entry->mark);
	struct flow_meta meta = { .mark = 0 };

	if (id)
		decide_learn(&decider, &entry->flow, &meta, id, monotonic_ms());
}

void daemon_pin(struct daemon *daemon)
{
	cpu_set_t cpus;

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		pin_worker(&running(daemon)->pin, i, &cpus);
		const int failed = worker_pin(daemon->workers[i], &cpus);

		if (failed)
			log_warning("pin: worker %u: %s", i, strerror(failed));
	}
}

bool daemon_start(struct daemon *daemon, char *error, size_t size)
{
	char values[256];

	daemon->rules_active = kernel_rules_active(running(daemon));
	sync_links(daemon, UINT64_MAX);
	links_started(&daemon->links);
	/* where bytes and rates are counted from */
	rtnl_interfaces(daemon->rtnl, keep_traffic, daemon);
	sampler_tick(daemon->sampler, monotonic_ms());
	if (!overrides_load(daemon, values, sizeof(values)))
		log_warning("runtime values are not taken over: %s", values);
	daemon->feedback = feedback_new(daemon);
	daemon->fallback = fallback_new(daemon);
	if (!daemon->feedback || !daemon->fallback || !add_events(daemon)) {
		snprintf(error, size, "cannot set up events: %s", strerror(errno));
		return false;
	}
	fallback_tick(daemon->fallback, monotonic_ms());
	/* the kernel's connections also tell which link each client uses: stickiness survives a restart */
	feedback_start(daemon->feedback, learn_entry, daemon);
	for (unsigned i = 0; i < daemon->n_workers; i++) {
		int failed = worker_start(daemon->workers[i]);

		if (failed) {
			snprintf(error, size, "cannot start a worker: %s", strerror(failed));
			return false;
		}
	}
	daemon_pin(daemon);
	return true;
}

void daemon_run(struct daemon *daemon)
{
	const struct config *config = running(daemon);

	log_info("ready: %zu links, %u queue%s from %u, commit by %s, rules %s", config->n_links, config->queues,
		 config->queues == 1 ? "" : "s", config->queue_first,
		 daemon->commit == COMMIT_VERDICT ? "verdict" : "chain",
		 daemon->rules_active ? "in place" : "not in place");
	notify_send("READY=1");
	event_base_dispatch(daemon->base);
	notify_send("STOPPING=1");
}

void daemon_stop(struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->n_workers; i++)
		worker_stop(daemon->workers[i]);
}

void daemon_free(struct daemon *daemon)
{
	if (daemon->control)
		control_close(daemon->control);
	for (unsigned i = 0; i < daemon->n_workers; i++)
		worker_free(daemon->workers[i]);
	for (unsigned i = 0; i < daemon->n_events; i++)
		event_free(daemon->events[i]);
	feedback_free(daemon->feedback);
	fallback_free(daemon->fallback);
	rtnl_close(daemon->rtnl);
	if (daemon->queues_fd >= 0)
		close(daemon->queues_fd);
	if (daemon->sampler)
		sampler_free(daemon->sampler);
	sticky_free(daemon->sticky);
	snapshot_free(atomic_load(&daemon->shared.snapshot));
	if (daemon->base)
		event_base_free(daemon->base);
	free(daemon->last_error);
}

/* ---- asked by the control socket ---- */

uint64_t daemon_snapshot_number(const struct daemon *daemon)
{
	return atomic_load(&daemon->shared.snapshot)->number;
}

struct kernel_queues daemon_kernel_queues(const struct daemon *daemon)
{
	return kernel_queues_read(daemon->queues_fd, running(daemon)->queue_first, running(daemon)->queues);
}

struct kernel_rules daemon_kernel_rules(const struct daemon *daemon)
{
	return kernel_rules_read(running(daemon));
}
