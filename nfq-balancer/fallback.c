/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/fallback.c - when to write which deal into which map
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/fallback.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/vmap.h"

#define EVERY_MS 900 /* a second, less what timers are off */

struct fallback {
	const struct daemon *daemon;
	struct shares_seen seen;
	unsigned generation; /* of the links, as last followed */
	uint64_t written_ms;
	uint64_t written, failed;
	bool failing; /* said so already */
	bool refused; /* the same, of rules that another version made */
	struct shares_deal shown[2]; /* of the maps in shown_names */
	bool known[2];
};

/* IPv4, IPv6: maps of sources without a prefix of their own */
static const char *const shown_names[2] = { "fallback4", "fallback6" };

struct fallback *fallback_new(const struct daemon *daemon)
{
	struct fallback *fallback = calloc(1, sizeof(*fallback));

	if (fallback)
		fallback->daemon = daemon;
	return fallback;
}

void fallback_free(struct fallback *fallback)
{
	free(fallback);
}

static void show(struct fallback *fallback, const struct vmap *vmap)
{
	for (unsigned i = 0; i < 2; i++) {
		if (strcmp(vmap->name, shown_names[i]) != 0)
			continue;
		fallback->shown[i] = vmap->deal;
		fallback->known[i] = true;
	}
}

static void observe(struct fallback *fallback)
{
	const struct daemon *daemon = fallback->daemon;
	uint64_t totals[CONFIG_MAX_LINKS] = { 0 };

	for (unsigned i = 0; i < daemon->n_workers; i++) {
		const struct worker_counters *counters = worker_counters(daemon->workers[i]);

		for (unsigned link = 0; link < CONFIG_MAX_LINKS; link++)
			totals[link] += atomic_load_explicit(&counters->rest[link], memory_order_relaxed);
	}
	shares_observe(&fallback->seen, totals);
}

/* Read a map, and what it should be; true when it should change. One that cannot be read is not
 * worth a word: the rules are being made, or unmade. */
static bool wants_change(struct fallback *fallback, const struct kernel_fallback *map, struct vmap *out)
{
	const struct daemon *daemon = fallback->daemon;
	const struct config *config = policy_config(daemon->policy);
	const struct shares_input input = {
		.policy = daemon->policy,
		.runtime = &daemon->runtime,
		.seen = &fallback->seen,
		.family = map->family,
		.candidates = map->links,
	};
	struct shares_deal now;
	uint64_t weights[CONFIG_MAX_LINKS];

	memcpy(out->name, map->name, sizeof(out->name));
	if (!vmap_read(config, out))
		return false;
	show(fallback, out);
	now = out->deal;
	const unsigned tolerance = shares_weigh(&input, weights);

	shares_deal(weights, &out->deal);
	return shares_differ(&now, &out->deal, tolerance);
}

static void write_maps(struct fallback *fallback, const struct vmap *vmaps, size_t n, uint64_t now_ms)
{
	fallback->written_ms = now_ms;
	if (vmap_write(policy_config(fallback->daemon->policy), vmaps, n)) {
		fallback->written++;
		for (size_t i = 0; i < n; i++)
			show(fallback, &vmaps[i]);
		if (fallback->failing)
			log_info("the kernel's fallback follows again");
		fallback->failing = false;
		return;
	}
	if (errno == ENOENT)
		return; /* the rules went meanwhile */
	fallback->failed++;
	if (!fallback->failing)
		log_warning("the kernel's fallback does not follow, it keeps the weights it has: %s", strerror(errno));
	fallback->failing = true;
}

static bool fits(struct fallback *fallback, const struct kernel_fallback *map)
{
	if (map->slots == SHARES_SLOTS)
		return true;
	if (!fallback->refused)
		log_warning("the kernel's fallback does not follow: another version made the rules; run "
			    "nfq-balancer-rules restart");
	fallback->refused = true;
	return false;
}

static void look(struct fallback *fallback, uint64_t now_ms)
{
	const struct daemon *daemon = fallback->daemon;
	size_t n = 0, changes = 0;
	struct kernel_fallback *maps = kernel_fallback_maps(policy_config(daemon->policy), &n);
	struct vmap *vmaps = n ? calloc(n, sizeof(*vmaps)) : NULL;

	fallback->generation = daemon->links.generation;
	memset(fallback->known, 0, sizeof(fallback->known));
	for (size_t i = 0; vmaps && i < n; i++) {
		if (!fits(fallback, &maps[i]))
			break;
		changes += wants_change(fallback, &maps[i], &vmaps[changes]);
	}
	if (changes && now_ms - fallback->written_ms >= EVERY_MS)
		write_maps(fallback, vmaps, changes, now_ms);
	free(vmaps);
	free(maps);
}

void fallback_tick(struct fallback *fallback, uint64_t now_ms)
{
	observe(fallback);
	if (fallback->daemon->rules_active)
		look(fallback, now_ms);
	else
		memset(fallback->known, 0, sizeof(fallback->known));
}

void fallback_follow(struct fallback *fallback, uint64_t now_ms)
{
	if (fallback->daemon->rules_active && fallback->generation != fallback->daemon->links.generation &&
	    now_ms - fallback->written_ms >= EVERY_MS)
		look(fallback, now_ms);
}

int fallback_share(const struct fallback *fallback, unsigned link, int family)
{
	if (!fallback || !fallback->known[family == 6])
		return -1;
	return (int)(shares_slots(&fallback->shown[family == 6], link) * 1000 / SHARES_SLOTS);
}

uint64_t fallback_written(const struct fallback *fallback)
{
	return fallback ? fallback->written : 0;
}

uint64_t fallback_failed(const struct fallback *fallback)
{
	return fallback ? fallback->failed : 0;
}
