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

/* ---- heaps, by time ---- */

static void heap_swap(struct sim_item *a, struct sim_item *b)
{
	const struct sim_item keep = *a;

	*a = *b;
	*b = keep;
}

bool sim_heap_push(struct sim_heap *heap, struct sim_item item)
{
	if (heap->n == heap->room) {
		const size_t room = heap->room ? heap->room * 2 : 64;
		struct sim_item *more = realloc(heap->item, room * sizeof(*more));

		if (!more)
			return false;
		heap->item = more;
		heap->room = room;
	}
	size_t i = heap->n++;

	heap->item[i] = item;
	for (; i && heap->item[i].when < heap->item[(i - 1) / 2].when; i = (i - 1) / 2)
		heap_swap(&heap->item[i], &heap->item[(i - 1) / 2]);
	return true;
}

struct sim_item sim_heap_pop(struct sim_heap *heap)
{
	const struct sim_item top = heap->item[0];
	size_t i = 0;

	heap->item[0] = heap->item[--heap->n];
	for (;;) {
		size_t least = i;

		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < heap->n; child++) {
			if (heap->item[child].when < heap->item[least].when)
				least = child;
		}
		if (least == i)
			return top;
		heap_swap(&heap->item[i], &heap->item[least]);
		i = least;
	}
}

/* ---- links ---- */

static void link_advance(struct sim_link *link, double now)
{
	if (link->present.n) {
		const double served = (now - link->now) * link->rate;

		link->service += served / (double)link->present.n;
		link->sent += served;
	}
	link->now = now;
}

static double link_next(const struct sim_link *link)
{
	if (!link->present.n)
		return (double)INFINITY;
	return link->now + (link->present.item[0].when - link->service) * (double)link->present.n / link->rate;
}

/* ---- events ---- */

static bool depart(struct sim *sim, unsigned index, double now)
{
	struct sim_link *link = &sim->links[index];

	link_advance(link, now);
	const struct sim_item gone = sim_heap_pop(&link->present);
	const struct sim_flow *flow = &sim->flows[gone.which];

	/* rounding must not leave service behind the flow that just left */
	link->service = gone.when;
	sim->slowdown[gone.which] = (now - flow->arrival) / (flow->bytes / sim->total_rate);
	sim->entries_until[gone.which] = now;
	return sim_entry_linger(sim, gone.which, index, now) && sim_report_stop(sim, gone.which, index, now);
}

static bool arrive(struct sim *sim, size_t index)
{
	const struct sim_flow *flow = &sim->flows[index];
	const unsigned chosen = sim_choose(sim, index);
	struct sim_link *link = &sim->links[chosen];

	link_advance(link, flow->arrival);
	sim->out->flows[chosen]++;
	sim->out->bytes[chosen] += flow->bytes;
	return sim_report_start(sim, index, chosen) &&
	       sim_heap_push(&link->present, (struct sim_item){ link->service + flow->bytes, index });
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

/* Has a link anything to tell of? */
static bool is_busy(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->n_links; i++) {
		if (sim->links[i].present.n || sim->links[i].sent > sim->told[i])
			return true;
	}
	return false;
}

/* Whole seconds that have passed by `now`, before the event at `now`; not those without any traffic */
static void tell_seconds(struct sim *sim, double now)
{
	if (!sim->second)
		return;
	while (sim->seconds + 1 <= now && !isinf(now)) {
		struct sim_second second = { .number = (uint64_t)sim->seconds };

		if (!is_busy(sim)) { /* a capture may pause for a year */
			sim->seconds = floor(now);
			return;
		}
		for (unsigned i = 0; i < sim->n_links; i++) {
			const struct sim_link *link = &sim->links[i];
			/* without advancing the link: looking must not change a result by its rounding */
			const double served = link->present.n ? (sim->seconds + 1 - link->now) * link->rate : 0;

			second.bytes[i] = link->sent + served - sim->told[i];
			second.present[i] = link->present.n;
			sim->told[i] = link->sent + served;
		}
		sim->second(sim->context, &second);
		sim->seconds += 1;
	}
}

static bool run(struct sim *sim, size_t n)
{
	size_t arrived = 0;

	for (;;) {
		double departure;
		const unsigned leaving = first_to_depart(sim, &departure);
		const double arrival = arrived < n ? sim->flows[arrived].arrival : (double)INFINITY;
		const double report = sim_report_next(sim);
		const double next = fmin(fmin(departure, arrival), report);

		if (arrived == n && isinf(departure))
			return true;
		tell_seconds(sim, next);
		sim->now = next;
		sim_sample(sim);
		if (report <= next)
			sim_report_take(sim);
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
	sim->guessed = calloc(n, sizeof(*sim->guessed));
	if (!sim->slowdown || !sim->entries_until || !sim->guessed || !sim_open(sim, setting, contender))
		goto done;
	good = run(sim, n);
	if (good)
		summarise(sim, n);
done:
	if (sim)
		sim_close(sim);
	return good;
}
