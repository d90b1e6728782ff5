/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim.c - processor-sharing links, driven by arrivals, departures and late reports
 *
 * Theory of operation. On a processor-sharing link every present flow receives the
 * same service, so one number per link, the service that each flow has received since
 * the start, orders the departures: a flow of s bytes that arrives at service V leaves
 * at service V + s. A heap by that number and the time at which the link next reaches
 * its top is all that an event needs.
 */
#include "bench/sim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/sim_private.h"

/* ---- links ---- */

static void heap_swap(struct sim_present *a, struct sim_present *b)
{
	const struct sim_present keep = *a;

	*a = *b;
	*b = keep;
}

static bool heap_push(struct sim_link *link, struct sim_present present)
{
	if (link->n == link->room) {
		const size_t room = link->room ? link->room * 2 : 64;
		struct sim_present *heap = realloc(link->heap, room * sizeof(*heap));

		if (!heap)
			return false;
		link->heap = heap;
		link->room = room;
	}
	size_t i = link->n++;

	link->heap[i] = present;
	for (; i && link->heap[i].leaves_at < link->heap[(i - 1) / 2].leaves_at; i = (i - 1) / 2)
		heap_swap(&link->heap[i], &link->heap[(i - 1) / 2]);
	return true;
}

static struct sim_present heap_pop(struct sim_link *link)
{
	const struct sim_present top = link->heap[0];
	size_t i = 0;

	link->heap[0] = link->heap[--link->n];
	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < link->n; child++) {
			if (link->heap[child].leaves_at < link->heap[least].leaves_at)
				least = child;
		}
		if (least == i)
			return top;
		heap_swap(&link->heap[i], &link->heap[least]);
		i = least;
	}
}

static void link_advance(struct sim_link *link, double now)
{
	if (link->n) {
		const double served = (now - link->now) * link->rate;

		link->service += served / (double)link->n;
		link->sent += served;
	}
	link->now = now;
}

static double link_next(const struct sim_link *link)
{
	if (!link->n)
		return (double)INFINITY;
	return link->now + (link->heap[0].leaves_at - link->service) * (double)link->n / link->rate;
}

/* ---- reports ---- */

/* All reports are equally late, so they come in the order of departures: a queue */
static bool report_push(struct sim *sim, double time, unsigned link)
{
	if (sim->reports_end == sim->reports_room) {
		const size_t room = sim->reports_room ? sim->reports_room * 2 : 1024;
		struct sim_report *reports = realloc(sim->reports, room * sizeof(*reports));

		if (!reports)
			return false;
		sim->reports = reports;
		sim->reports_room = room;
	}
	sim->reports[sim->reports_end++] = (struct sim_report){ time, link };
	return true;
}

static double report_next(const struct sim *sim)
{
	return sim->reports_begin < sim->reports_end ? sim->reports[sim->reports_begin].time : (double)INFINITY;
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

static void take_report(struct sim *sim)
{
	const struct sim_report report = sim->reports[sim->reports_begin++];

	load_add(&sim->load.stopped, report.link, 1);
	estimate_unreported(sim, report.time);
}

/* ---- events ---- */

static bool depart(struct sim *sim, unsigned index, double now)
{
	struct sim_link *link = &sim->links[index];

	link_advance(link, now);
	const struct sim_present gone = heap_pop(link);
	const struct sim_flow *flow = &sim->flows[gone.flow];

	/* rounding must not leave service behind the flow that just left */
	link->service = gone.leaves_at;
	sim->slowdown[gone.flow] = (now - flow->arrival) / (flow->bytes / sim->total_rate);
	sim->entries_until[gone.flow] = now;
	return sim_entry_linger(sim, gone.flow, index, now) && report_push(sim, now + sim->delay, index);
}

static bool arrive(struct sim *sim, size_t index)
{
	const struct sim_flow *flow = &sim->flows[index];
	const unsigned chosen = sim_choose(sim, index);
	struct sim_link *link = &sim->links[chosen];

	link_advance(link, flow->arrival);
	sim->out->flows[chosen]++;
	sim->out->bytes[chosen] += flow->bytes;
	return heap_push(link, (struct sim_present){ link->service + flow->bytes, index });
}

static unsigned first_to_depart(const struct sim *sim, double *when)
{
	unsigned first = 0;

	*when = (double)INFINITY;
	for (unsigned i = 0; i < sim->n_links; i++) {
		const double next = link_next(&sim->links[i]);

		if (next < *when) {
			*when = next;
			first = i;
		}
	}
	return first;
}

static bool run(struct sim *sim, size_t n)
{
	size_t arrived = 0;

	for (;;) {
		double departure;
		const unsigned leaving = first_to_depart(sim, &departure);
		const double arrival = arrived < n ? sim->flows[arrived].arrival : (double)INFINITY;
		const double report = report_next(sim);
		const double next = fmin(fmin(departure, arrival), report);

		if (arrived == n && isinf(departure))
			return true;
		sim->now = next;
		sim_sample(sim);
		if (report <= next)
			take_report(sim);
		else if (departure <= next ? !depart(sim, leaving, departure) : !arrive(sim, arrived++))
			return false;
	}
}

/* ---- results ---- */

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void summarise(struct sim *sim, size_t n)
{
	struct sim_result *out = sim->out;
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += sim->slowdown[i];
	qsort(sim->slowdown, n, sizeof(*sim->slowdown), compare);
	out->mean = sum / (double)n;
	out->p50 = sim->slowdown[n / 2];
	out->p95 = sim->slowdown[n * 95 / 100];
	out->p99 = sim->slowdown[n * 99 / 100];
	out->seconds = sim->now;
}

bool sim_run(const struct sim_setting *setting, enum sim_contender contender, const struct sim_flow *flows, size_t n,
	     struct sim_result *out)
{
	struct sim *sim = calloc(1, sizeof(*sim));
	bool good = false;

	memset(out, 0, sizeof(*out));
	if (!sim || !n)
		goto done;
	sim->flows = flows;
	sim->out = out;
	sim->slowdown = calloc(n, sizeof(*sim->slowdown));
	sim->entries_until = calloc(n, sizeof(*sim->entries_until));
	if (!sim->slowdown || !sim->entries_until || !sim_open(sim, setting, contender))
		goto done;
	good = run(sim, n);
	if (good)
		summarise(sim, n);
done:
	if (sim)
		sim_close(sim);
	return good;
}
