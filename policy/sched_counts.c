/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_counts.c - the least loaded link, known without looking at all
 *
 * Theory of operation. A tournament (Knuth, The Art of Computer Programming 3, 5.2.3): links are the
 * leaves of a binary tree, and each node knows the least loaded one below it. A count that changes costs
 * one comparison for each level. Which counts have changed is told by the arrays' own lists
 * of changes (policy/load.h); who has missed too many counts all anew.
 *
 * A link's load is flows / capacity, the new flow among the flows, as an IEEE 754 double. Its last six bits
 * make room for the link, so the order of these numbers is that of loads, and of equal ones that of links. Equal
 * fractions are equal loads, and others differ as long as flows times capacity is below 2^46. Where
 * it matters who has room, those without have the sign bit set: they come after all others.
 */
#include "policy/sched_private.h"

#define PATHS_MAX 8 /* so many paths to the root cost about as much as all nodes */

void sched_counts_init(struct sched_counts *counts, uint64_t candidates, const uint32_t *capacities)
{
	*counts = (struct sched_counts){ .known = false };
	memset(counts->load, 0xff, sizeof(counts->load)); /* who is no candidate is more loaded than any */
	for (uint64_t links = candidates; links; links &= links - 1)
		counts->capacity[sched_lowest(links)] = capacities[sched_lowest(links)];
}

static void count(struct sched_lineup *lineup, unsigned link, const struct load *load)
{
	struct sched_counts *counts = &lineup->counts;
	const uint32_t flows = 1 + load_sending(load, link);
	uint64_t bits = sched_load_bits(flows / counts->capacity[link]) | link;

	if (lineup->room.group && !sched_room_update(&lineup->room, link, flows))
		bits |= SCHED_LOAD_FULL;
	counts->load[CONFIG_MAX_LINKS + link] = bits;
}

/* No branch: nobody can predict it */
static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void update_path(struct sched_counts *counts, unsigned link, unsigned levels)
{
	unsigned at = CONFIG_MAX_LINKS + link;
	uint64_t least = counts->load[at];

	for (; levels; levels--) {
		least = lesser(least, counts->load[at ^ 1]);
		at /= 2;
		counts->load[at] = least;
	}
}

/* All nodes from the root down, the lowest first */
static void update_all(struct sched_counts *counts, unsigned root, unsigned levels)
{
	while (levels--) {
		for (unsigned at = root << levels; at < (root + 1) << levels; at++)
			counts->load[at] = lesser(counts->load[2 * at], counts->load[2 * at + 1]);
	}
}

/* Links whose counts have changed, as far as is known; others may be among them */
static uint64_t changed(struct sched_counts *counts, const struct load *load)
{
	uint64_t links = load_changed(&load->followed, &counts->seen_followed);

	for (unsigned i = 0; i < load->workers; i++)
		links |= load_changed(&load->steered[i], &counts->seen_steered[i]);
	if (counts->known)
		return links;
	counts->known = true;
	return UINT64_MAX;
}

void sched_counts_follow(struct sched_lineup *lineup, const struct sched_input *input)
{
	struct sched_counts *counts = &lineup->counts;
	const uint64_t links = changed(counts, input->load) & input->candidates;
	unsigned n = 0;

	for (uint64_t left = links; left; left &= left - 1, n++)
		count(lineup, sched_lowest(left), input->load);
	if (n > PATHS_MAX) {
		update_all(counts, lineup->span.root, lineup->span.levels);
		return;
	}
	for (uint64_t left = links; left; left &= left - 1)
		update_path(counts, sched_lowest(left), lineup->span.levels);
}
