/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/shares.c - weights of the kernel's fallback, and slots from weights
 *
 * Which weights. A ratio that the file states for the fallback stays. wrr and hash
 * split by weight in the long run, so theirs are the runtime weights. What the other
 * schedulers give each link follows from the traffic: theirs are the flows that the
 * final rule's group gave lately, plus PRIOR flows dealt by the links' capacities, so
 * that few flows prove little. Links that are not usable get nothing, unless none is:
 * the fallback may cost balance, not connections.
 */
#include "policy/shares.h"

#include <string.h>

#define UNIT 256 /* of a flow, in struct shares_seen */
#define DECAY_SHIFT 3 /* each second an eighth of what was counted is forgotten */
#define PRIOR 64 /* flows that the capacities count for */
#define MEASURED_TOLERANCE (SHARES_SLOTS * 3 / 100)
#define WEIGHT_BITS 40 /* of the sum of weights: SHARES_SLOTS times it fits 64 */

static bool has(uint64_t links, unsigned link)
{
	return links >> link & 1;
}

void shares_observe(struct shares_seen *seen, const uint64_t totals[CONFIG_MAX_LINKS])
{
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		seen->flows[i] -= seen->flows[i] >> DECAY_SHIFT;
		seen->flows[i] += (totals[i] - seen->total[i]) * UNIT;
		seen->total[i] = totals[i];
	}
}

/* ---- which links ---- */

static uint64_t with_fallback_weight(const struct config *config)
{
	uint64_t links = 0;

	for (size_t i = 0; i < config->n_links; i++)
		links |= config->links[i].fallback_weight ? UINT64_C(1) << i : 0;
	return links;
}

/* The links that the final rule uses while `usable` are; 0 when it uses none of them */
static uint64_t members(const struct shares_input *input, uint64_t usable)
{
	const struct config *config = policy_config(input->policy);
	const struct rule_config *final = &config->rules[config->final_rule];

	if (config->fallback_weight_stated)
		return usable & with_fallback_weight(config);
	switch (final->action) {
	case RULE_GROUP:
		return policy_best_tier(input->policy, final->target, usable);
	case RULE_LINK:
		if (has(usable, final->target))
			return UINT64_C(1) << final->target;
		return final->if_down == IF_DOWN_OTHER ? usable : 0;
	case RULE_BYPASS:
		break;
	}
	return 0;
}

/* ---- which weights ---- */

static bool is_measured(const struct shares_input *input)
{
	const struct config *config = policy_config(input->policy);
	const struct rule_config *final = &config->rules[config->final_rule];

	if (config->fallback_weight_stated || final->action != RULE_GROUP)
		return false;
	switch (link_runtime_scheduler(input->runtime, config->groups[final->target].slot)) {
	case SCHED_LEAST_LOAD:
	case SCHED_SPILLOVER:
	case SCHED_LATENCY:
		return true;
	case SCHED_WRR:
	case SCHED_HASH:
	case SCHEDULERS:
		break;
	}
	return false;
}

/* Shift the weights until their sum has WEIGHT_BITS; none becomes 0. Returns the sum. */
static uint64_t fit(uint64_t links, uint64_t *weights)
{
	uint64_t sum = 0;
	unsigned shift = 0;

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		sum += has(links, i) ? weights[i] : 0;
	while (sum >> shift >> WEIGHT_BITS)
		shift++;
	sum = 0;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (!has(links, i))
			continue;
		weights[i] = weights[i] >> shift ? weights[i] >> shift : 1;
		sum += weights[i];
	}
	return sum;
}

/* Weight times stated capacity, as the schedulers by load see it: a link that states none
 * counts as an average one of those that do */
static void weigh_capacity(const struct link_runtime *runtime, uint64_t links, uint64_t *weights)
{
	uint64_t capacity[CONFIG_MAX_LINKS], sum = 0, n = 0;

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		capacity[i] = has(links, i) ? link_runtime_capacity(runtime, i) : 0;
		sum += capacity[i];
		n += capacity[i] != 0;
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (has(links, i))
			weights[i] = link_runtime_weight(runtime, i) * (capacity[i] ? capacity[i] : n ? sum / n : 1);
	}
}

static void weigh_measured(const struct shares_input *input, uint64_t links, uint64_t *weights)
{
	weigh_capacity(input->runtime, links, weights);
	const uint64_t sum = fit(links, weights);

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (has(links, i))
			weights[i] = input->seen->flows[i] + weights[i] * PRIOR * UNIT / sum;
	}
	fit(links, weights);
}

unsigned shares_weigh(const struct shares_input *input, uint64_t weights[CONFIG_MAX_LINKS])
{
	const struct config *config = policy_config(input->policy);
	uint64_t links = members(input, input->candidates & link_runtime_usable(input->runtime, input->family));

	memset(weights, 0, CONFIG_MAX_LINKS * sizeof(*weights));
	if (!links)
		links = members(input, input->candidates);
	if (is_measured(input)) {
		weigh_measured(input, links, weights);
		return MEASURED_TOLERANCE;
	}
	for (unsigned i = 0; i < config->n_links; i++) {
		if (has(links, i))
			weights[i] = config->fallback_weight_stated ? config->links[i].fallback_weight
								    : link_runtime_weight(input->runtime, i);
	}
	return 0;
}

/* ---- slots ---- */

/* Links whose share is less than a slot get one, and leave the rest of slots and weights to
 * the others; until none is. Returns those others. */
static uint64_t give_single_slots(uint64_t left, const uint64_t *weights, unsigned *slots, unsigned *room,
				  uint64_t *sum)
{
	bool again = true;

	while (again) {
		again = false;
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			if (!has(left, i) || weights[i] * *room >= *sum)
				continue;
			slots[i] = 1;
			*room -= 1;
			*sum -= weights[i];
			left &= ~(UINT64_C(1) << i);
			again = true;
		}
	}
	return left;
}

static void apportion(uint64_t links, const uint64_t *weights, unsigned *slots, uint64_t sum)
{
	uint64_t remainder[CONFIG_MAX_LINKS] = { 0 };
	unsigned room = SHARES_SLOTS, open;
	const uint64_t left = give_single_slots(links, weights, slots, &room, &sum);

	open = room;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (!has(left, i))
			continue;
		slots[i] = (unsigned)(weights[i] * room / sum);
		remainder[i] = weights[i] * room % sum;
		open -= slots[i];
	}
	while (open--) {
		unsigned best = 0;

		for (unsigned i = 1; i < CONFIG_MAX_LINKS; i++)
			best = remainder[i] > remainder[best] ? i : best;
		slots[best]++;
		remainder[best] = 0;
	}
}

/* Smooth weighted round robin over the slots' numbers: each turn every link gains its
 * number, the richest takes the slot and pays all of them */
static void interleave(const unsigned *slots, struct shares_deal *out)
{
	int credit[CONFIG_MAX_LINKS] = { 0 };

	for (unsigned turn = 0; turn < SHARES_SLOTS; turn++) {
		unsigned best = 0;

		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			credit[i] += (int)slots[i];
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= SHARES_SLOTS;
		out->slot[turn] = (uint8_t)best;
	}
}

void shares_deal(const uint64_t weights[CONFIG_MAX_LINKS], struct shares_deal *out)
{
	uint64_t fitted[CONFIG_MAX_LINKS], links = 0;
	unsigned slots[CONFIG_MAX_LINKS] = { 0 };

	memcpy(fitted, weights, sizeof(fitted));
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		links |= weights[i] ? UINT64_C(1) << i : 0;
	if (!links) {
		memset(out->slot, SHARES_MAIN, sizeof(out->slot));
		return;
	}
	apportion(links, fitted, slots, fit(links, fitted));
	interleave(slots, out);
}

unsigned shares_slots(const struct shares_deal *deal, unsigned link)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SHARES_SLOTS; i++)
		n += deal->slot[i] == link;
	return n;
}

bool shares_differ(const struct shares_deal *now, const struct shares_deal *wanted, unsigned tolerance)
{
	unsigned have[UINT8_MAX + 1] = { 0 }, want[UINT8_MAX + 1] = { 0 }, gained = 0;

	for (unsigned i = 0; i < SHARES_SLOTS; i++) {
		have[now->slot[i]]++;
		want[wanted->slot[i]]++;
	}
	for (unsigned i = 0; i <= UINT8_MAX; i++) {
		if (!have[i] != !want[i])
			return true;
		gained += want[i] > have[i] ? want[i] - have[i] : 0;
	}
	return gained > tolerance;
}
