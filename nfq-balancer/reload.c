/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/reload.c - a new policy in place of the running one
 *
 * Parsed, checked and compiled completely before anything changes; then one pointer
 * is published, and the old snapshot is freed after every worker has passed between
 * two batches (liburcu, QSBR; a worker that waits for packets is never waited for).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/notify.h"
#include "nfq-balancer/pin.h"
#include "nfq-balancer/snapshot.h"

static void publish(struct daemon *daemon, struct snapshot *next)
{
	struct snapshot *before = atomic_load(&daemon->shared.snapshot);

	/* first: the slot of a new group has no scheduler yet, or that of a group which had it long ago */
	overrides_inherit(daemon, policy_config(before->policy), policy_config(next->policy));
	atomic_store_explicit(&daemon->shared.snapshot, next, memory_order_release);
	daemon->policy = next->policy;
	daemon->links.config = policy_config(next->policy);
	urcu_qsbr_synchronize_rcu();
	snapshot_free(before);
}

/* The rules' part of it follows with their restart */
static void follow_fallback(const struct daemon *daemon)
{
	for (unsigned i = 0; i < daemon->n_workers; i++) {
		const int failed = worker_set_fail_open(daemon->workers[i], policy_config(daemon->policy)->fallback);

		if (failed)
			log_warning("fallback: queue %u: %s", worker_queue(daemon->workers[i]), strerror(failed));
	}
}

static void remember_error(struct daemon *daemon, const struct config_messages *errors)
{
	free(daemon->last_error);
	daemon->last_error = errors->n ? strdup(errors->text[0]) : NULL;
}

static bool pins_possible(const struct config *config, struct config_messages *errors)
{
	char error[512];

	if (pin_check(&config->pin, error, sizeof(error)))
		return true;
	messages_add(errors, "%s", error);
	return false;
}

static bool reload(struct daemon *daemon, struct config_messages *errors)
{
	const struct config *running = policy_config(daemon->policy);
	struct config_messages warnings = { NULL, 0 };
	struct config *config = config_load(running->file, errors, &warnings);

	for (size_t i = 0; i < warnings.n; i++)
		log_warning("%s", warnings.text[i]);
	config_messages_free(&warnings);
	if (!config)
		return false;
	if (!config_inherit(config, running, errors) || !pins_possible(config, errors)) {
		config_free(config);
		return false;
	}
	struct policy *policy = policy_compile(config);
	struct snapshot *next = policy ? snapshot_new(policy) : NULL;

	if (!next) {
		messages_add(errors, "out of memory");
		return false;
	}
	log_set_level(config->log_level);
	publish(daemon, next);
	daemon_look_at_links(daemon); /* gateways may be others */
	daemon_pin(daemon);
	follow_fallback(daemon);
	return true;
}

bool daemon_reload(struct daemon *daemon, struct config_messages *errors)
{
	notify_send("RELOADING=1");
	bool good = reload(daemon, errors);

	remember_error(daemon, errors);
	daemon->reloads_failed += !good;
	for (size_t i = 0; i < errors->n; i++)
		log_error("%s", errors->text[i]);
	if (good) {
		daemon->reloads++;
		daemon->policy_loaded = (uint64_t)time(NULL);
		log_info("configuration read again");
	}
	notify_send("READY=1");
	return good;
}

bool daemon_file_unchanged(const struct daemon *daemon)
{
	const struct config *running = policy_config(daemon->policy);

	return config_files_checksum(running) == running->checksum;
}

bool daemon_file_readable(const struct daemon *daemon, char *text, size_t size)
{
	const struct config *running = policy_config(daemon->policy);
	const char *why;
	const char *path = config_files_unreadable(running, &why);

	if (!path)
		return true;
	snprintf(text, size, "a reload would fail: user %s cannot read %s: %s", running->user, path, why);
	return false;
}
