/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/daemon.h - the daemon as the control thread sees it
 *
 * Owned by main(); everything here belongs to the control thread except what
 * worker.h and policy/runtime.h say otherwise. Signals, the command line and the
 * control socket call the same functions.
 */
#ifndef NFQB_DAEMON_H
#define NFQB_DAEMON_H

#include <event2/event.h>

#include "nfq-balancer/kernel.h"
#include "nfq-balancer/links.h"
#include "nfq-balancer/worker.h"
#include "policy/config_file.h"

struct control;
struct rtnl;
struct sampler;
struct feedback;
struct fallback;

enum commit_path {
	COMMIT_VERDICT, /* NFQA_CT: the verdict carries the conntrack mark */
	COMMIT_CHAIN, /* the rules' commit chain copies the packet mark */
};

struct daemon {
	struct event_base *base;
	struct policy *policy; /* the running one, also published to the workers */
	struct link_runtime runtime;
	struct load load; /* flows that are sending: written by workers and feedback */
	struct links links;
	struct sticky *sticky;
	struct worker *workers[CONFIG_MAX_QUEUES];
	unsigned n_workers;
	struct worker_shared shared; /* what the workers read: snapshot, hash key */
	struct rtnl *rtnl;
	struct event *events[8]; /* timers, signals, rtnetlink */
	unsigned n_events;
	struct control *control;
	int queues_fd; /* /proc/net/netfilter/nfnetlink_queue, or -1 */
	unsigned seconds; /* timer ticks so far */
	bool rules_active; /* as last looked at */
	bool failed; /* left because a worker could not go on */
	enum commit_path commit;
	uint64_t started; /* CLOCK_REALTIME, seconds */
	uint64_t policy_loaded; /* CLOCK_REALTIME, seconds */
	unsigned reloads, reloads_failed; /* since the start: those that were successful, and others */
	char *last_error; /* of the last failed reload, or NULL */
	struct feedback *feedback; /* NULL before daemon_start() */
	struct fallback *fallback; /* NULL before daemon_start() */
	struct sampler *sampler; /* set by sampler_new(); NULL before */
};

/* Make a daemon of a checked configuration (taken, also on failure), in the order that main()
 * shows. Each step returns false with one line in `error`. */
bool daemon_init(struct daemon *daemon, struct config *config, char *error, size_t size);
/* `forced`: -1 to probe, else enum commit_path */
bool daemon_open_kernel(struct daemon *daemon, int forced, char *error, size_t size);
bool daemon_start(struct daemon *daemon, char *error, size_t size);
/* Serve until SIGTERM or SIGINT; then let the queues run dry */
void daemon_run(struct daemon *daemon);
void daemon_stop(struct daemon *daemon);
void daemon_free(struct daemon *daemon);

/* Look at all links, and put right what is not as the running configuration wants it */
void daemon_look_at_links(struct daemon *daemon);
/* Put the workers where the running configuration wants them */
void daemon_pin(struct daemon *daemon);

/* Read the configuration again and publish it. False: `errors` says why, the running
 * policy stays. Weights, states and schedulers set at runtime survive unless the
 * file's own value changed. */
bool daemon_reload(struct daemon *daemon, struct config_messages *errors);

/* Is the configuration on disk still what runs? Reads the files. */
bool daemon_file_unchanged(const struct daemon *daemon);

/* Can the user that the daemon has become read them all? Otherwise `text` says which not, and why: it
 * started with what root could read. */
bool daemon_file_readable(const struct daemon *daemon, char *text, size_t size);

/* Of the running policy: what workers write down beside its indices (worker.h) */
uint64_t daemon_snapshot_number(const struct daemon *daemon);
struct kernel_queues daemon_kernel_queues(const struct daemon *daemon);
struct kernel_rules daemon_kernel_rules(const struct daemon *daemon);

/* Values set at runtime (nfq-balancer/overrides.c): weights, link states, schedulers
 * that differ from the file. save() writes STATE_DIRECTORY/runtime.conf, load() reads it at start. */
bool overrides_save(const struct daemon *daemon, char *error, size_t size);
bool overrides_load(struct daemon *daemon, char *error, size_t size);
/* Before `after` is published: keep each runtime value unless the file's value changed between `before` and it */
void overrides_inherit(struct daemon *daemon, const struct config *before, const struct config *after);
/* Does any runtime value differ from the file? */
bool overrides_differ(const struct daemon *daemon);

/* The control socket (nfq-balancer/control.c). Opened before privileges are dropped;
 * NULL with `error` filled on failure, e.g. when another daemon answers on it. */
struct control *control_open(struct daemon *daemon, char *error, size_t size);
void control_close(struct control *control);

/* Rates and shares (nfq-balancer/sampler.c): call once a second from a timer */
struct sampler *sampler_new(struct daemon *daemon);
void sampler_tick(struct sampler *sampler, uint64_t now_ms);
void sampler_free(struct sampler *sampler);

#endif
