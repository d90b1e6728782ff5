/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched_kept.c - what schedulers keep from decision to decision
 *
 * Workers keep line-ups, weights of the last turn and noise until a runtime value
 * changes. Here they are compared, pick by pick, with the plain definitions of wrr and least-load, which
 * keep credits and last weights only, while all that may change does: weights, capacities, candidates,
 * schedulers, counts, unreported departures; several groups and workers.
 */
#include "tests/unit/fixture.h"

#include "policy/sched.h"

__extension__ typedef unsigned __int128 exact;

#define WORKERS 3
#define SLOTS 3
#define LINKS 12 /* of which each world has at least two */
#define CAPACITY_BITS 27

struct row {
	int64_t credit[CONFIG_MAX_LINKS];
	uint32_t weight[CONFIG_MAX_LINKS];
};

struct world {
	uint64_t random;
	struct link_runtime runtime;
	struct load load;
	struct sched_state state[WORKERS];
	struct row rows[WORKERS][SLOTS + 1];
	unsigned n, spread; /* links, and the distance of their indices */
};

static bool has(uint64_t links, unsigned i)
{
	return links >> i & 1;
}

/* ---- the definitions ---- */

static int64_t cut(int64_t credit, int64_t bound)
{
	return credit > bound ? bound : credit < -bound ? -bound : credit;
}

static unsigned model_wrr(struct row *row, uint64_t links, const uint32_t *weights)
{
	int64_t sum = 0;
	bool changed = false;
	unsigned best = CONFIG_MAX_LINKS;

	if (!(links & (links - 1)))
		return (unsigned)__builtin_ctzll(links);
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		sum += has(links, i) ? weights[i] : 0;
		changed |= has(links, i) && row->weight[i] != weights[i];
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (!has(links, i))
			continue;
		row->credit[i] = (changed ? cut(row->credit[i], sum) : row->credit[i]) + weights[i];
		row->weight[i] = weights[i];
		if (best == CONFIG_MAX_LINKS || row->credit[i] > row->credit[best])
			best = i;
	}
	row->credit[best] -= sum;
	return best;
}

static void model_capacities(const struct world *world, uint64_t links, uint32_t *capacity)
{
	uint64_t sum = 0, stated = 0, most = 0, effective[CONFIG_MAX_LINKS] = { 0 };
	unsigned shift = 0;

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		sum += has(links, i) ? link_runtime_capacity(&world->runtime, i) : 0;
		stated += has(links, i) && link_runtime_capacity(&world->runtime, i);
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		const uint64_t own = link_runtime_capacity(&world->runtime, i), mean = stated ? sum / stated : 1;

		if (has(links, i))
			effective[i] = link_runtime_weight(&world->runtime, i) * (own ? own : mean);
		most = effective[i] > most ? effective[i] : most;
	}
	while (most >> shift >> CAPACITY_BITS)
		shift++;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		capacity[i] = effective[i] >> shift ? (uint32_t)(effective[i] >> shift) : 1;
}

/* Links that are within the noise of the least (flows + 1) / capacity; flows in sixteenths */
static uint64_t model_ties(const struct world *world, uint64_t links, const uint32_t *capacity)
{
	const uint64_t square = (uint64_t)atomic_load(&world->load.unreported) * 64;
	uint64_t noise = 0, found = 0, flows[CONFIG_MAX_LINKS];
	unsigned best = CONFIG_MAX_LINKS;

	while ((noise + 1) * (noise + 1) <= square)
		noise++;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		flows[i] = 16 * ((uint64_t)load_sending(&world->load, i) + 1);
		if (has(links, i) &&
		    (best == CONFIG_MAX_LINKS || (exact)flows[i] * capacity[best] < (exact)flows[best] * capacity[i]))
			best = i;
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		const uint64_t least = flows[i] > noise ? flows[i] - noise : 0;

		if (has(links, i) && (exact)least * capacity[best] <= (exact)flows[best] * capacity[i])
			found |= UINT64_C(1) << i;
	}
	return found;
}

static unsigned model_pick(struct world *world, enum scheduler scheduler, struct row *row, uint64_t links)
{
	uint32_t weights[CONFIG_MAX_LINKS];

	if (scheduler == SCHED_LEAST_LOAD) {
		model_capacities(world, links, weights);
		return model_wrr(row, model_ties(world, links, weights), weights);
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		weights[i] = link_runtime_weight(&world->runtime, i);
	return model_wrr(row, links, weights);
}

/* ---- what changes ---- */

static uint32_t below(struct world *world, uint32_t n)
{
	return fixture_below(&world->random, n);
}

static unsigned some_link(struct world *world)
{
	return below(world, world->n) * world->spread;
}

static uint64_t some_links(struct world *world)
{
	uint64_t links = 0;

	for (unsigned i = 0; i < world->n; i++)
		links |= (uint64_t)(below(world, 4) != 0) << i * world->spread;
	return links ? links : 1;
}

static void change(struct world *world)
{
	static const uint32_t most[] = { 2, 10, 1000, CONFIG_MAX_WEIGHT };
	const unsigned link = some_link(world);

	switch (below(world, 4)) {
	case 0:
		link_runtime_set_weight(&world->runtime, link, 1 + below(world, most[below(world, 4)]));
		break;
	case 1:
		link_runtime_set_capacity(&world->runtime, link,
					  below(world, 4)   ? 1 + below(world, 20) * 1000
					  : below(world, 2) ? UINT32_MAX - below(world, 9)
							    : 0);
		break;
	case 2:
		atomic_store(&world->load.unreported, below(world, 3) ? below(world, 200) : 0);
		break;
	default: /* a stop may be seen before its start */
		if (below(world, 2))
			load_sub(&world->load.followed, link, below(world, 5));
		else
			load_add(&world->load.followed, link, below(world, 5));
		break;
	}
}

static struct world *world_new(uint64_t *random)
{
	struct world *world = aligned_alloc(_Alignof(struct world), sizeof(*world));

	assert_non_null(world);
	memset(world, 0, sizeof(*world));
	world->random = fixture_random(random);
	world->n = 2 + below(world, LINKS - 1);
	world->spread = 1 + below(world, 5);
	world->load.workers = 1 + below(world, WORKERS);
	for (unsigned i = 0; i < world->n; i++) {
		link_runtime_set_weight(&world->runtime, i * world->spread, 1 + below(world, 9));
		link_runtime_set_capacity(&world->runtime, i * world->spread, 1000 * below(world, 4));
	}
	return world;
}

static void check_pick(struct world *world, enum scheduler scheduler, unsigned slot, uint64_t links)
{
	const unsigned worker = below(world, world->load.workers);
	const struct sched_input input = {
		.slot = slot == SLOTS ? SCHED_SLOT_ANY : slot,
		.candidates = links,
		.runtime = &world->runtime,
		.load = &world->load,
	};
	int64_t scores[CONFIG_MAX_LINKS];
	const unsigned peeked = sched_peek(scheduler, &world->state[worker], &input, scores);
	const unsigned expected = model_pick(world, scheduler, &world->rows[worker][slot], links);
	const unsigned picked = sched_pick(scheduler, &world->state[worker], &input);

	assert_int_equal(picked, expected);
	assert_int_equal(peeked, expected);
	if (below(world, 16)) /* else as if it had been decided elsewhere, and not counted */
		load_add(&world->load.steered[worker], picked, 1);
}

static void test_as_by_definition(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct world *world = world_new(&random);
		enum scheduler schedulers[SLOTS + 1] = { SCHED_LEAST_LOAD, SCHED_WRR, SCHED_LEAST_LOAD, SCHED_WRR };
		uint64_t candidates[3] = { some_links(world), some_links(world), some_links(world) };

		for (unsigned turn = 0; turn < 1500; turn++) {
			const unsigned slot = below(world, SLOTS + 1);

			check_pick(world, schedulers[slot], slot, candidates[below(world, 2 + round % 2)]);
			if (below(world, 1 + round % 4 * 50) == 0)
				change(world);
			if (below(world, 40) == 0)
				candidates[below(world, 3)] = some_links(world);
			if (below(world, 20) == 0)
				schedulers[slot] = below(world, 2) ? SCHED_WRR : SCHED_LEAST_LOAD;
		}
		free(world);
	}
}

/* ---- each change alone: it counts from the next decision on ---- */

static struct world *two_links(void)
{
	uint64_t random = 1;
	struct world *world = world_new(&random);

	world->n = 2;
	world->spread = 1;
	world->load.workers = 1;
	for (unsigned i = 0; i < 2; i++) {
		link_runtime_set_weight(&world->runtime, i, 1);
		link_runtime_set_capacity(&world->runtime, i, 1000);
	}
	return world;
}

static unsigned share_of_first(struct world *world, enum scheduler scheduler, unsigned turns, uint64_t links)
{
	const struct sched_input input = {
		.slot = 1, .candidates = links, .runtime = &world->runtime, .load = &world->load
	};
	unsigned n = 0;

	for (unsigned turn = 0; turn < turns; turn++) {
		const unsigned link = sched_pick(scheduler, &world->state[0], &input);

		load_add(&world->load.steered[0], link, 1);
		n += link == 0;
	}
	return n;
}

static void test_a_weight_counts_at_once(void **state)
{
	struct world *world = two_links();

	(void)state;
	assert_int_equal(share_of_first(world, SCHED_WRR, 100, 3), 50);
	link_runtime_set_weight(&world->runtime, 0, 3);
	assert_int_equal(share_of_first(world, SCHED_WRR, 100, 3), 75);
	free(world);
	world = two_links();
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 100, 3), 50);
	link_runtime_set_weight(&world->runtime, 0, 3);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 100, 3), 100); /* 150 : 50 */
	free(world);
}

static void test_a_link_that_leaves_and_comes_back(void **state)
{
	struct world *world = two_links();

	(void)state;
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 3), 5);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 2), 0);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 3), 10); /* it had been idle */
	assert_in_range(share_of_first(world, SCHED_WRR, 100, 3), 49, 51); /* with the other scheduler's credits, cut */
	free(world);
}

/* Credits of one are debts of the other: they are cut each time */
static void test_schedulers_take_turns(void **state)
{
	struct world *world = two_links();

	(void)state;
	link_runtime_set_weight(&world->runtime, 0, 3);
	link_runtime_set_capacity(&world->runtime, 1, 700);
	atomic_store(&world->load.unreported, 1000000); /* all are ties */
	for (unsigned turn = 0; turn < 200; turn++)
		check_pick(world, turn / 7 % 2 ? SCHED_WRR : SCHED_LEAST_LOAD, 1, 3);
	free(world);
}

/* A reload states capacities: link_runtime_set_capacities() */
static void test_a_reload_counts_at_once(void **state)
{
	struct config *config = fixture_balanced(STICKY_NONE);
	struct world *world = two_links();

	(void)state;
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 40, 3), 20);
	config->links[0].download = 30000000;
	config->links[1].download = 10000000;
	link_runtime_set_capacities(&world->runtime, config);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 40, 3), 40); /* 60 : 20 */
	config_free(config);
	free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_by_definition),
		cmocka_unit_test(test_a_weight_counts_at_once),
		cmocka_unit_test(test_a_link_that_leaves_and_comes_back),
		cmocka_unit_test(test_schedulers_take_turns),
		cmocka_unit_test(test_a_reload_counts_at_once),
	};

	return cmocka_run_group_tests_name("what schedulers keep", tests, NULL, NULL);
}
