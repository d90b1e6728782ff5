/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/sampler.c - rates and shares of each link over the last minutes
 *
 * Two rings of snapshots of running totals, one a second and one each ten seconds
 * long. A rate is the difference of two totals over the difference of their times:
 * exact over its window, whatever the timer's jitter, and in integers.
 */
#include "nfq-balancer/sampler.h"

#include <stdlib.h>

#include "nfq-balancer/daemon.h"

#define SECONDS_KEPT 11 /* ten intervals of a second */
#define LONG_KEPT 31 /* thirty intervals of ten seconds */
#define LONG_MS 10000
#define TICK_MS 1000
#define RATE_INTERVALS 10
#define BITS_INTERVALS 5

struct totals {
	uint64_t flows, rx, tx;
};

struct snapshot {
	uint64_t ms;
	struct totals link[CONFIG_MAX_LINKS];
};

struct ring {
	struct snapshot *snapshot;
	unsigned size, newest, held; /* held: how many are filled */
};

struct interface_counters {
	int ifindex;
	uint64_t rx, tx; /* as last seen */
};

struct sampler {
	struct daemon *daemon;
	struct totals now[CONFIG_MAX_LINKS];
	struct interface_counters seen[CONFIG_MAX_LINKS];
	struct snapshot seconds[SECONDS_KEPT], tens[LONG_KEPT];
	struct ring short_ring, long_ring;
};

static void ring_add(struct ring *ring, uint64_t ms, const struct totals *totals)
{
	struct snapshot *slot;

	ring->newest = (ring->newest + 1) % ring->size;
	if (ring->held < ring->size)
		ring->held++;
	slot = &ring->snapshot[ring->newest];
	slot->ms = ms;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		slot->link[i] = totals[i];
}

/* The snapshot `back` intervals ago, or the oldest there is; NULL: there is none */
static const struct snapshot *ring_at(const struct ring *ring, unsigned back)
{
	if (ring->held == 0)
		return NULL;
	if (back >= ring->held)
		back = ring->held - 1;
	return &ring->snapshot[(ring->newest + ring->size - back) % ring->size];
}

static uint64_t workers_flows(const struct daemon *daemon, unsigned link)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < daemon->n_workers; i++)
		sum += atomic_load_explicit(&worker_counters(daemon->workers[i])->links[link], memory_order_relaxed);
	return sum;
}

/* Interface counters start again when the interface is made again: only what was added counts */
static void count_bytes(struct sampler *sampler, unsigned link)
{
	const struct link_status *status = &sampler->daemon->links.status[link];
	struct interface_counters *seen = &sampler->seen[link];
	struct totals *now = &sampler->now[link];

	if (status->ifindex == 0)
		return;
	if (status->ifindex == seen->ifindex && status->rx_bytes >= seen->rx && status->tx_bytes >= seen->tx &&
	    (seen->rx || seen->tx)) {
		now->rx += status->rx_bytes - seen->rx;
		now->tx += status->tx_bytes - seen->tx;
	}
	*seen = (struct interface_counters){ status->ifindex, status->rx_bytes, status->tx_bytes };
}

static void read_totals(struct sampler *sampler)
{
	size_t n = policy_config(sampler->daemon->policy)->n_links;

	for (unsigned i = 0; i < n; i++) {
		sampler->now[i].flows = workers_flows(sampler->daemon, i);
		count_bytes(sampler, i);
	}
}

struct sampler *sampler_new(struct daemon *daemon)
{
	struct sampler *sampler = calloc(1, sizeof(*sampler));

	if (!sampler)
		return NULL;
	sampler->daemon = daemon;
	sampler->short_ring = (struct ring){ .snapshot = sampler->seconds, .size = SECONDS_KEPT };
	sampler->long_ring = (struct ring){ .snapshot = sampler->tens, .size = LONG_KEPT };
	daemon->sampler = sampler;
	return sampler;
}

void sampler_tick(struct sampler *sampler, uint64_t now_ms)
{
	const struct snapshot *last = ring_at(&sampler->long_ring, 0);

	/* what happened before the first tick happened in the second before it */
	if (!last) {
		ring_add(&sampler->short_ring, now_ms - TICK_MS, sampler->now);
		ring_add(&sampler->long_ring, now_ms - TICK_MS, sampler->now);
		last = ring_at(&sampler->long_ring, 0);
	}
	read_totals(sampler);
	ring_add(&sampler->short_ring, now_ms, sampler->now);
	if (now_ms - last->ms >= LONG_MS)
		ring_add(&sampler->long_ring, now_ms, sampler->now);
}

void sampler_free(struct sampler *sampler)
{
	if (sampler)
		sampler->daemon->sampler = NULL;
	free(sampler);
}

static uint64_t per_second(uint64_t amount, uint64_t ms)
{
	return ms ? amount * 1000 / ms : 0;
}

struct sampler_link sampler_link(const struct sampler *sampler, unsigned link)
{
	const struct snapshot *now, *last, *bits, *rate, *old;
	struct sampler_link out = { 0 };

	if (!sampler || sampler->short_ring.held == 0)
		return out;
	now = ring_at(&sampler->short_ring, 0);
	last = ring_at(&sampler->short_ring, 1);
	bits = ring_at(&sampler->short_ring, BITS_INTERVALS);
	rate = ring_at(&sampler->short_ring, RATE_INTERVALS);
	old = ring_at(&sampler->long_ring, LONG_KEPT - 1);
	out.flows = now->link[link].flows;
	out.flows_5min = out.flows - old->link[link].flows;
	out.rate_tenths = per_second(10 * (out.flows - rate->link[link].flows), now->ms - rate->ms);
	out.rx_bits = per_second(8 * (now->link[link].rx - bits->link[link].rx), now->ms - bits->ms);
	out.tx_bits = per_second(8 * (now->link[link].tx - bits->link[link].tx), now->ms - bits->ms);
	out.rx_bits_now = per_second(8 * (now->link[link].rx - last->link[link].rx), now->ms - last->ms);
	out.rx_bytes = now->link[link].rx;
	out.tx_bytes = now->link[link].tx;
	return out;
}
