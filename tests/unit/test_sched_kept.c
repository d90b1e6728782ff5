/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched_kept.c - what schedulers keep from decision to decision
 *
 * Workers keep line-ups, counts and noise until a runtime value or a count
 * changes. Here they are compared, pick by pick, with the plain definitions of wrr, least-load and latency, which
 * keep credits only and look at all links, while all that may change does: weights, capacities, candidates,
 * schedulers, counts, unreported departures; several groups and workers.
 */
#include "tests/unit/fixture.h"

#include "policy/sched.h"

__extension__ typedef unsigned __int128 exact;

#define WORKERS 3
#define SLOTS 3
#define LINKS 12 /* of which each world has at least two */
#define CAPACITY_BITS 27
#define TURN_BITS 23

/* Turns of one set of candidates, by weight and by capacity: of each pair of halves, twice what the left one
 * has got less than its due; halves by node, the root of all links is 1 */
struct set {
	uint64_t links;
	int64_t owed[2][CONFIG_MAX_LINKS];
};

/* A group remembers so many sets; then the one that came first makes room, and lots are drawn */
struct sets {
	struct set set[SCHED_LINEUPS];
	unsigned next;
};

struct world {
	uint64_t random;
	struct link_runtime runtime;
	struct load load;
	struct sched_state *state[WORKERS];
	struct sets sets[WORKERS][SLOTS + 1];
	unsigned n, spread; /* links, and the distance of their indices */
};

static bool has(uint64_t links, unsigned i)
{
	return links >> i & 1;
}

/* ---- the definitions ---- */

/* Its place, and whether it was another's */
static struct set *set_of(struct sets *sets, uint64_t links, bool *drawn)
{
	struct set *set;

	*drawn = false;
	for (unsigned i = 0; i < SCHED_LINEUPS; i++) {
		if (sets->set[i].links == links)
			return &sets->set[i];
	}
	set = &sets->set[sets->next];
	sets->next = (sets->next + 1) % SCHED_LINEUPS;
	*drawn = set->links != 0;
	set->links = links;
	return set;
}

/* Weight of the links below a node */
static int64_t weight_of(const uint32_t *weights, uint64_t links, unsigned node)
{
	unsigned first = node, after = node + 1;
	int64_t sum = 0;

	for (; first < CONFIG_MAX_LINKS; first *= 2, after *= 2)
		;
	for (unsigned i = first - CONFIG_MAX_LINKS; i < after - CONFIG_MAX_LINKS; i++)
		sum += has(links, i) ? weights[i] : 0;
	return sum;
}

/* No more may be owed than these weights could have made */
static void cut(int64_t *owed, const uint32_t *weights, uint64_t links)
{
	for (unsigned node = 1; node < CONFIG_MAX_LINKS; node++) {
		const int64_t left = weight_of(weights, links, 2 * node),
			      right = weight_of(weights, links, 2 * node + 1);

		if (!left || !right)
			continue;
		if (owed[node] + left - right > 2 * left - 1)
			owed[node] = left + right - 1;
		else if (owed[node] + left - right < -2 * right)
			owed[node] = -left - right;
	}
}

/* The finalizer that the schedulers use */
static uint64_t finalize(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* What is owed once the turns of all halves have been drawn by lot: any standing that they can have is as likely */
static void draw(int64_t *owed, const uint32_t *weights, uint64_t links, uint32_t seed)
{
	for (unsigned node = 1; node < CONFIG_MAX_LINKS; node++) {
		const int64_t left = weight_of(weights, links, 2 * node),
			      right = weight_of(weights, links, 2 * node + 1);
		const uint64_t lot = finalize((uint64_t)seed * CONFIG_MAX_LINKS + node) >> 32;

		owed[node] = (int64_t)(lot * (uint64_t)(2 * left + 2 * right) >> 32) - 2 * right - (left - right);
	}
}

/* A turn among `among`; halves without any of them are passed by */
static unsigned model_turn(int64_t *owed, const uint32_t *weights, uint64_t links, uint64_t among)
{
	unsigned node = 1;

	while (node < CONFIG_MAX_LINKS) {
		const int64_t left = weight_of(weights, links, 2 * node),
			      right = weight_of(weights, links, 2 * node + 1);
		const bool to_left = owed[node] + left >= right;

		if (!weight_of(weights, among, 2 * node)) {
			node = 2 * node + 1;
		} else if (!weight_of(weights, among, 2 * node + 1)) {
			node = 2 * node;
		} else {
			owed[node] += to_left ? -2 * right : 2 * left;
			node = 2 * node + !to_left;
		}
	}
	return node - CONFIG_MAX_LINKS;
}

static void model_capacities(const struct world *world, uint64_t links, unsigned bits, uint32_t *capacity)
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
	while (most >> shift >> bits)
		shift++;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		capacity[i] = effective[i] >> shift ? (uint32_t)(effective[i] >> shift) : 1;
}

/* Links of `among` whose load is not above the least (flows + 1) / capacity with the noise added; in sixteenths of a
 * flow */
static uint64_t model_ties(const struct world *world, uint64_t links, uint64_t among)
{
	const uint64_t square = (uint64_t)atomic_load(&world->load.unreported) * 64;
	uint64_t noise = 0, found = 0, flows[CONFIG_MAX_LINKS];
	uint32_t capacity[CONFIG_MAX_LINKS];
	unsigned best = CONFIG_MAX_LINKS;

	model_capacities(world, links, CAPACITY_BITS, capacity);
	while ((noise + 1) * (noise + 1) <= square)
		noise++;
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		flows[i] = 16 * ((uint64_t)load_sending(&world->load, i) + 1);
		if (has(among, i) &&
		    (best == CONFIG_MAX_LINKS || (exact)flows[i] * capacity[best] < (exact)flows[best] * capacity[i]))
			best = i;
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		if (has(among, i) && (exact)flows[i] * capacity[best] <= (exact)(flows[best] + noise) * capacity[i])
			found |= UINT64_C(1) << i;
	}
	return found;
}

/* Those whose round trip is less than a tenth above the lowest; here all have room */
static uint64_t model_near(const struct world *world, uint64_t links)
{
	uint64_t least = UINT64_MAX, found = 0;

	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		const uint64_t rtt = link_runtime_measured(&world->runtime, i).rtt_us;

		least = has(links, i) && rtt < least ? rtt : least;
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		const uint64_t rtt = link_runtime_measured(&world->runtime, i).rtt_us;

		found |= (uint64_t)(has(links, i) && rtt * 10 < least * 11) << i;
	}
	return found;
}

static unsigned model_pick(const struct world *world, enum scheduler scheduler, struct sets *sets, uint64_t links,
			   const struct sched_state *state, unsigned slot)
{
	const uint32_t seed = state->stamps;
	/* one in 64 goes by least-load among all, by multiples of the golden ratio */
	const bool measuring = (state->group[slot].turns + 90) * 2654435769u < 1u << 26;
	uint64_t among = links;
	uint32_t weights[CONFIG_MAX_LINKS], capacities[CONFIG_MAX_LINKS];
	struct set *set;
	bool drawn;

	if (!(links & (links - 1)) && scheduler != SCHED_LATENCY)
		return (unsigned)__builtin_ctzll(links);
	set = set_of(sets, links, &drawn);
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		weights[i] = link_runtime_weight(&world->runtime, i);
	model_capacities(world, links, TURN_BITS, capacities);
	if (drawn) {
		draw(set->owed[0], weights, links, seed);
		draw(set->owed[1], capacities, links, seed);
	}
	cut(set->owed[0], weights, links);
	cut(set->owed[1], capacities, links);
	if (scheduler == SCHED_WRR)
		return model_turn(set->owed[0], weights, links, links);
	if (scheduler == SCHED_LATENCY && !measuring)
		among = model_near(world, links);
	return model_turn(set->owed[1], capacities, links, model_ties(world, links, among));
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

/* Some are near, some far; none is ever loaded */
static void measure(struct world *world, unsigned link)
{
	const struct link_measured measured = {
		.rtt_us = 20000 + 1000 * below(world, 4),
		.sending = INT32_MAX,
	};

	link_runtime_set_measured(&world->runtime, link, &measured);
}

static void change(struct world *world)
{
	static const uint32_t most[] = { 2, 10, 1000, CONFIG_MAX_WEIGHT };
	const unsigned link = some_link(world);

	switch (below(world, 5)) {
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
	case 3:
		measure(world, link);
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
	for (unsigned i = 0; i < WORKERS; i++) {
		world->state[i] = calloc(1, sizeof(*world->state[i]));
		assert_non_null(world->state[i]);
	}
	world->random = fixture_random(random);
	world->n = 2 + below(world, LINKS - 1);
	world->spread = 1 + below(world, 5);
	world->load.workers = 1 + below(world, WORKERS);
	for (unsigned i = 0; i < world->n; i++) {
		link_runtime_set_weight(&world->runtime, i * world->spread, 1 + below(world, 9));
		link_runtime_set_capacity(&world->runtime, i * world->spread, 1000 * below(world, 4));
		measure(world, i * world->spread);
	}
	return world;
}

static void world_free(struct world *world)
{
	for (unsigned i = 0; i < WORKERS; i++)
		free(world->state[i]);
	free(world);
}

static void check_pick(struct world *world, enum scheduler scheduler, unsigned slot, uint64_t links)
{
	static const struct group_config group = { .spill_at = 80 };
	const unsigned worker = below(world, world->load.workers);
	const struct sched_input input = {
		.slot = slot == SLOTS ? SCHED_SLOT_ANY : slot,
		.group = &group,
		.candidates = links,
		.runtime = &world->runtime,
		.load = &world->load,
	};
	int64_t scores[CONFIG_MAX_LINKS];
	const unsigned peeked = sched_peek(scheduler, world->state[worker], &input, scores);
	const unsigned expected =
		model_pick(world, scheduler, &world->sets[worker][slot], links, world->state[worker], input.slot);
	const unsigned picked = sched_pick(scheduler, world->state[worker], &input);

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
		static const enum scheduler all[] = { SCHED_WRR, SCHED_LEAST_LOAD, SCHED_LATENCY };
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
				schedulers[slot] = all[below(world, 3)];
		}
		world_free(world);
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
		const unsigned link = sched_pick(scheduler, world->state[0], &input);

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
	world_free(world);
	world = two_links();
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 100, 3), 50);
	link_runtime_set_weight(&world->runtime, 0, 3);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 100, 3), 100); /* 150 : 50 */
	world_free(world);
}

static void test_a_link_that_leaves_and_comes_back(void **state)
{
	struct world *world = two_links();

	(void)state;
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 3), 5);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 2), 0);
	assert_int_equal(share_of_first(world, SCHED_LEAST_LOAD, 10, 3), 10); /* it had been idle */
	assert_int_equal(share_of_first(world, SCHED_WRR, 100, 3), 50); /* each scheduler has credits of its own */
	world_free(world);
}

/* Each has credits of its own */
static void test_schedulers_take_turns(void **state)
{
	struct world *world = two_links();

	(void)state;
	link_runtime_set_weight(&world->runtime, 0, 3);
	link_runtime_set_capacity(&world->runtime, 1, 700);
	atomic_store(&world->load.unreported, 1000000); /* all are ties */
	for (unsigned turn = 0; turn < 200; turn++)
		check_pick(world, turn / 7 % 2 ? SCHED_WRR : SCHED_LEAST_LOAD, 1, 3);
	world_free(world);
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
	world_free(world);
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
