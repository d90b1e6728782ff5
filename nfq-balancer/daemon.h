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

#include "nfq-balancer/links.h"
#include "nfq-balancer/worker.h"
#include "policy/config_file.h"

enum commit_path {
	COMMIT_VERDICT, /* NFQA_CT: the verdict carries the conntrack mark */
	COMMIT_CHAIN, /* the rules' commit chain copies the packet mark */
};

struct daemon {
	struct event_base *base;
	struct policy *policy; /* the running one, also published to the workers */
	struct link_runtime runtime;
	struct links links;
	struct sticky *sticky;
	struct worker **workers;
	unsigned n_workers;
	enum commit_path commit;
	uint64_t hash_key[2];
	uint64_t started; /* CLOCK_REALTIME, seconds */
	uint64_t policy_loaded; /* CLOCK_REALTIME, seconds */
	unsigned reloads; /* successful ones since the start */
	char *last_error; /* of the last failed reload, or NULL */
};

/* Read the configuration again and publish it. False: `errors` says why, the running
 * policy stays. Weights, states and schedulers set at runtime survive unless the
 * file's own value changed. */
bool daemon_reload(struct daemon *daemon, struct config_messages *errors);

/* Is the configuration on disk still what runs? Reads the files. */
bool daemon_file_unchanged(const struct daemon *daemon);

/* What the kernel says about the queues, summed (/proc/net/netfilter/nfnetlink_queue, opened as root) */
struct kernel_queues {
	bool known;
	uint64_t waiting; /* packets queued now */
	uint64_t dropped; /* queue_dropped + user_dropped: lost */
};
struct kernel_queues daemon_kernel_queues(const struct daemon *daemon);

/* What the rules script left and what its counters say */
struct kernel_rules {
	bool active; /* rules.state exists */
	bool same_policy; /* made from the running configuration's mask, links, queues */
	char backend[24]; /* "nft", "nft+iptables", "iptables-nft", "iptables-legacy" */
	bool counted; /* the fields below are known (nft backends) */
	uint64_t decided[CONFIG_MAX_LINKS]; /* flows that the daemon decided, by link index */
	uint64_t fallback[CONFIG_MAX_LINKS]; /* flows that the kernel's fallback decided */
};
struct kernel_rules daemon_kernel_rules(const struct daemon *daemon);

/* Values set at runtime (nfq-balancer/overrides.c): weights, link states, schedulers
 * that differ from the file. save() writes STATE_DIRECTORY/runtime.conf, load() reads it at start. */
bool overrides_save(const struct daemon *daemon, char *error, size_t size);
bool overrides_load(struct daemon *daemon, char *error, size_t size);
/* After a reload: keep each runtime value unless the file's value changed between `before` and `after` */
void overrides_inherit(struct daemon *daemon, const struct config *before, const struct config *after);
/* Does any runtime value differ from the file? */
bool overrides_differ(const struct daemon *daemon);

/* The control socket (nfq-balancer/control.c). Opened before privileges are dropped;
 * NULL with `error` filled on failure, e.g. when another daemon answers on it. */
struct control;
struct control *control_open(struct daemon *daemon, char *error, size_t size);
void control_close(struct control *control);

/* Rates and shares (nfq-balancer/sampler.c): call once a second from a timer */
struct sampler;
struct sampler *sampler_new(struct daemon *daemon);
void sampler_tick(struct sampler *sampler, uint64_t now_ms);
void sampler_free(struct sampler *sampler);

#endif
