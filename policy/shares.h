/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/shares.h - which share of new flows each link gets when the kernel decides alone
 *
 * The kernel's fallback deals new flows from a fixed number of slots, in turns. This
 * says how many slots each link should have: by what the administrator set where the
 * split follows from that, by what the scheduler really gave each link lately where
 * it does not. The rules script fills the same slots by the same arithmetic when it
 * starts (scripts/rules/policy.sh).
 */
#ifndef POLICY_SHARES_H
#define POLICY_SHARES_H

#include "policy/policy.h"
#include "policy/runtime.h"

/* Divided by 1 to 6, 8, 10, 12, 15, 16, 20, 24, ...: most weights that people state come out
 * exact, and any share is right within 1/240. Two hundred elements are rewritten in no time. */
#define SHARES_SLOTS 240
#define SHARES_MAIN 255 /* instead of a link's index: main's default route */
#define SHARES_UNSET 254 /* no such slot, or one that leads elsewhere */

struct shares_deal {
	uint8_t slot[SHARES_SLOTS]; /* link index, SHARES_MAIN or SHARES_UNSET */
};

/* Flows that the final rule gave each link lately. All zero at first. */
struct shares_seen {
	uint64_t total[CONFIG_MAX_LINKS]; /* running totals as last seen */
	uint64_t flows[CONFIG_MAX_LINKS]; /* of the last seconds, the latest count most; in 256ths */
};

/* Call once a second with running totals by link index */
void shares_observe(struct shares_seen *seen, const uint64_t totals[CONFIG_MAX_LINKS]);

struct shares_input {
	const struct policy *policy;
	const struct link_runtime *runtime;
	const struct shares_seen *seen;
	int family; /* 4 or 6 */
	uint64_t candidates; /* bit i: the flows in question may use links[i] */
};

/* Weight of each link, all 0 when new flows are not to take any. Returns by how many slots
 * the deal may be off before it is worth a change: 0 for stated weights, a few percent for
 * measured shares. */
unsigned shares_weigh(const struct shares_input *input, uint64_t weights[CONFIG_MAX_LINKS]);

/* Slots by largest remainder; a link with a weight gets one at least. In turns, without runs. */
void shares_deal(const uint64_t weights[CONFIG_MAX_LINKS], struct shares_deal *out);

unsigned shares_slots(const struct shares_deal *deal, unsigned link);

/* Should `now` become `wanted`? Where a link comes or goes, a slot is unset or lost, or more
 * than `tolerance` slots would change hands. */
bool shares_differ(const struct shares_deal *now, const struct shares_deal *wanted, unsigned tolerance);

#endif
