/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim_report.c - when the scheduler learns that a flow has stopped sending
 *
 * A flow whose end shows (FIN, the answer of a one-answer exchange) is reported `delay`
 * after it. Two kinds are not so lucky, each simulated when asked for: connections that
 * stay open after their last byte, and datagrams without an end, which count for
 * the lifetime that the daemon's own code (policy/track_class.h) has learnt of their class.
 */
#include <math.h>
#include <netinet/in.h>

#include "bench/sim_private.h"

static double learnt_lifetime(const struct sim *sim, const struct flow *flow)
{
	return sim->classes[track_class_of(flow->protocol, flow->dport)].lifetime_ms / 1000.0;
}

/* Its end does not show: it is reported when its lifetime is over, early or late */
static bool is_guessed(const struct sim *sim, const struct sim_flow *flow)
{
	return sim->learn && flow->flow.protocol != IPPROTO_TCP &&
	       !track_class_exchange(&sim->classes[track_class_of(flow->flow.protocol, flow->flow.dport)]);
}

bool sim_report_start(struct sim *sim, size_t index, unsigned link)
{
	const struct sim_flow *flow = &sim->flows[index];

	sim->guessed[index] = is_guessed(sim, flow);
	if (!sim->guessed[index])
		return true;
	return sim_heap_push(&sim->reports,
			     (struct sim_item){ flow->arrival + learnt_lifetime(sim, &flow->flow), link });
}

bool sim_report_stop(struct sim *sim, size_t index, unsigned link, double now)
{
	const struct sim_flow *flow = &sim->flows[index];
	double when = now + sim->delay;

	if (sim->learn && flow->flow.protocol != IPPROTO_TCP) {
		const double active = fmin((now - flow->arrival) * 1000, UINT32_MAX - 1);

		track_class_learn(&sim->classes[track_class_of(flow->flow.protocol, flow->flow.dport)],
				  flow->packets[0], flow->packets[1], (uint32_t)active);
	}
	if (sim->guessed[index])
		return true;
	/* a share of the connections, the same ones for every contender */
	if (flow->flow.protocol == IPPROTO_TCP && fmod((double)index * 0.6180339887498949, 1) < sim->idle_share)
		when += sim->idle_time;
	return sim_heap_push(&sim->reports, (struct sim_item){ when, link });
}

/* Departures per second as the reports show them, times their delay: what is under way unseen */
static void estimate_unreported(struct sim *sim, double now)
{
	double *oldest = &sim->recent[sim->n_recent++ % SIM_RECENT];
	const double window = now - *oldest;

	*oldest = now;
	if (sim->n_recent > SIM_RECENT && window > 0)
		atomic_store_explicit(&sim->load.unreported, (uint32_t)(SIM_RECENT / window * sim->delay),
				      memory_order_relaxed);
}

double sim_report_next(const struct sim *sim)
{
	return sim->reports.n ? sim->reports.item[0].when : (double)INFINITY;
}

void sim_report_take(struct sim *sim)
{
	const struct sim_item report = sim_heap_pop(&sim->reports);

	load_sub(&sim->load.followed, (unsigned)report.which, 1);
	estimate_unreported(sim, report.when);
}
