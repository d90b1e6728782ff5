/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_sched_sets.c - sets of candidates that take turns, and what workers keep of each
 *
 * More sets than a group keeps line-ups for, stamps that start again, and several threads that
 * change counts while others follow them.
 */
#include "tests/unit/fixture.h"

#include <pthread.h>

#include "policy/sched_private.h"

#define SETS 9
#define THREADS 4

struct bench {
	struct link_runtime runtime;
	struct load load;
	struct group_config group;
	struct sched_state *state[THREADS]; /* by worker */
};

static struct bench *bench_new(void)
{
	struct bench *bench = aligned_alloc(_Alignof(struct bench), sizeof(*bench));

	assert_non_null(bench);
	memset(bench, 0, sizeof(*bench));
	bench->load.workers = THREADS;
	bench->group.spill_at = 80;
	for (unsigned i = 0; i < THREADS; i++) {
		bench->state[i] = calloc(1, sizeof(*bench->state[i]));
		assert_non_null(bench->state[i]);
	}
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		bench->runtime.id[i] = i + 1;
		bench->group.rank[i] = (uint8_t)(i * 37 % CONFIG_MAX_LINKS);
		link_runtime_set_weight(&bench->runtime, i, 1);
		link_runtime_set_capacity(&bench->runtime, i, 1000);
	}
	return bench;
}

static void bench_free(struct bench *bench)
{
	for (unsigned i = 0; i < THREADS; i++)
		free(bench->state[i]);
	free(bench);
}

static struct sched_input input_of(const struct bench *bench, unsigned slot, uint64_t candidates, uint64_t hash)
{
	return (struct sched_input){
		.slot = slot,
		.candidates = candidates,
		.runtime = &bench->runtime,
		.load = &bench->load,
		.group = &bench->group,
		.hash = hash,
	};
}

/* ---- shares ---- */

/* Each set in a random order, n times */
static void shuffle(uint64_t *random, uint8_t *order, unsigned n)
{
	for (unsigned i = 0; i < SETS * n; i++) {
		const unsigned other = fixture_below(random, i + 1);

		order[i] = order[other];
		order[other] = (uint8_t)(i % SETS);
	}
}

#define ROUNDS 4000 /* of each set */

/* Weights 1 to 4 of the links of each set; each has got its share of the set's turns, give or take a twentieth
 * of them, which is at least six standard deviations of drawing lots */
static void check_shares(struct bench *bench, const uint64_t *sets, uint64_t *random, enum scheduler scheduler)
{
	static unsigned counts[SETS][CONFIG_MAX_LINKS];
	static uint8_t order[SETS * ROUNDS];

	memset(counts, 0, sizeof(counts));
	shuffle(random, order, ROUNDS);
	for (unsigned i = 0; i < SETS * ROUNDS; i++) {
		const struct sched_input input = input_of(bench, 2, sets[order[i]], 0);
		const bool looks = i % 16 == 0;
		int64_t scores[CONFIG_MAX_LINKS];
		const unsigned expected = looks ? sched_peek(scheduler, bench->state[0], &input, scores) : 0;
		const unsigned link = sched_pick(scheduler, bench->state[0], &input);

		assert_true(!looks || link == expected);
		assert_true(input.candidates >> link & 1);
		counts[order[i]][link]++;
	}
	for (unsigned set = 0; set < SETS; set++) {
		uint32_t sum = 0;

		for (uint64_t links = sets[set]; links; links &= links - 1)
			sum += link_runtime_weight(&bench->runtime, (unsigned)__builtin_ctzll(links));
		for (uint64_t links = sets[set]; links; links &= links - 1) {
			const unsigned link = (unsigned)__builtin_ctzll(links);
			const double share = (double)ROUNDS * link_runtime_weight(&bench->runtime, link) / sum;

			if (counts[set][link] < share - ROUNDS / 20.0 || counts[set][link] > share + ROUNDS / 20.0)
				fail_msg("set %u (%#llx): link %u has %u turns, its share is %.1f", set,
					 (unsigned long long)sets[set], link, counts[set][link], share);
		}
	}
}

static void weigh(struct bench *bench, uint64_t *random)
{
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		link_runtime_set_weight(&bench->runtime, i, 1 + fixture_below(random, 4));
}

/* IPv6 clients of many prefixes: each link of its own prefix, beside two that translate and so carry all */
static void test_sets_with_a_link_of_their_own(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned scheduler = 0; scheduler < 2; scheduler++) {
		for (unsigned round = 0; round < 4; round++) {
			struct bench *bench = bench_new();
			uint64_t sets[SETS];

			weigh(bench, &random);
			for (unsigned i = 0; i < SETS; i++)
				sets[i] = 3 | UINT64_C(1) << (2 + i * (1 + round * 2));
			atomic_store(&bench->load.unreported, 1000000); /* all are ties */
			check_shares(bench, sets, &random, scheduler ? SCHED_LEAST_LOAD : SCHED_WRR);
			bench_free(bench);
		}
	}
}

/* Groups of links that have nothing in common */
static void test_sets_apart(void **state)
{
	uint64_t random = fixture_seed();
	struct bench *bench = bench_new();
	uint64_t sets[SETS];

	(void)state;
	weigh(bench, &random);
	for (unsigned i = 0; i < SETS; i++)
		sets[i] = UINT64_C(7) << 7 * i;
	check_shares(bench, sets, &random, SCHED_WRR);
	bench_free(bench);
}

static void test_any_sets(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		struct bench *bench = bench_new();
		uint64_t sets[SETS];

		weigh(bench, &random);
		for (unsigned i = 0; i < SETS; i++) {
			const uint64_t some = fixture_random(&random) & fixture_random(&random);

			sets[i] = (round % 2 ? some & fixture_random(&random) : some) | UINT64_C(1) << i;
		}
		check_shares(bench, sets, &random, SCHED_WRR);
		bench_free(bench);
	}
}

/* Latency: each link that is too far away has its chance to be measured again, be all counts ties or not; whose
 * turn it is must not have to do with when that is */
static void test_far_links_are_measured(void **state)
{
	(void)state;
	for (unsigned n = 3; n <= 16; n++) {
		for (unsigned near = 1; near < n; near++) {
			struct bench *bench = bench_new();
			const struct sched_input input = input_of(bench, 1, (UINT64_C(1) << n) - 1, 0);
			unsigned counts[CONFIG_MAX_LINKS] = { 0 };

			atomic_store(&bench->load.unreported, 1000000); /* all are ties */
			for (unsigned i = 0; i < n; i++) {
				const bool is_near = i * 5 % n < near;
				const struct link_measured measured = {
					.rtt_us = is_near ? 20000 : 90000,
					.sending = 1000,
				};

				link_runtime_set_measured(&bench->runtime, i, &measured);
			}
			for (unsigned i = 0; i < 64 * 100; i++)
				counts[sched_pick(SCHED_LATENCY, bench->state[0], &input)]++;
			for (unsigned i = 0; i < n; i++) {
				if (counts[i] < 100 / n / 2)
					fail_msg("%u links, %u near: link %u has %u", n, near, i, counts[i]);
			}
			bench_free(bench);
		}
	}
}

/* ---- stamps ---- */

static void hash_all(struct bench *bench, unsigned slot, uint64_t links)
{
	for (uint64_t bucket = 0; bucket < 1000; bucket++) {
		const struct sched_input input = input_of(bench, slot, links, bucket << 48);
		int64_t scores[CONFIG_MAX_LINKS];
		const unsigned link = sched_pick(SCHED_HASH, bench->state[0], &input);

		assert_true(links >> link & 1);
		assert_int_equal(link, sched_peek(SCHED_HASH, bench->state[0], &input, scores));
	}
}

/* After 2^24 line-ups stamps start again; whoever still has an old one must not be taken for another. Groups of
 * links that have nothing in common; one keeps its candidates meanwhile, the other one gets new ones. */
static void test_stamps_start_again(void **state)
{
	(void)state;
	for (unsigned keeps = 0; keeps < 2; keeps++) {
		struct bench *bench = bench_new();

		hash_all(bench, 0, 0x7); /* stamps 1 and 2 */
		hash_all(bench, 1, 0x38);
		bench->state[0]->stamps = SCHED_STAMPS - 1;
		for (unsigned i = 2; i < 9; i++) {
			hash_all(bench, keeps, UINT64_C(7) << 3 * i);
			hash_all(bench, !keeps, keeps ? 0x7 : 0x38);
		}
		bench_free(bench);
	}
}

/* ---- threads ---- */

#define STEPS 20000
#define LINKS UINT64_C(0x1084210842108421)

struct runner {
	struct bench *bench;
	unsigned index;
	uint64_t random;
	bool wrong; /* some answer was no candidate */
};

static enum scheduler some_scheduler(uint64_t *random)
{
	static const enum scheduler schedulers[] = { SCHED_LEAST_LOAD, SCHED_SPILLOVER, SCHED_LATENCY, SCHED_WRR };

	return schedulers[fixture_below(random, 4)];
}

/* A worker; bursts of more changes than are listed, too */
static void *run_worker(void *argument)
{
	struct runner *runner = argument;
	struct bench *bench = runner->bench;

	for (unsigned i = 0; i < STEPS; i++) {
		const struct sched_input input =
			input_of(bench, 0, fixture_below(&runner->random, 3) ? LINKS : LINKS & 0xffffffff, 0);
		const enum scheduler scheduler = i % 200 < 100 ? SCHED_LEAST_LOAD : some_scheduler(&runner->random);
		const unsigned link = sched_pick(scheduler, bench->state[runner->index], &input);

		runner->wrong |= !(input.candidates >> link & 1);
		load_add(&bench->load.steered[runner->index], link, 1);
		for (unsigned n = fixture_below(&runner->random, 50) ? 0 : LOAD_CHANGES * 2; n; n--)
			load_add(&bench->load.steered[runner->index], link, 1);
	}
	return NULL;
}

/* The control thread: flows stop, figures and settings change, and somebody asks for the next one */
static void *run_control(void *argument)
{
	struct runner *runner = argument;
	struct bench *bench = runner->bench;

	for (unsigned i = 0; i < STEPS; i++) {
		const unsigned link = 5 * fixture_below(&runner->random, 13);

		load_sub(&bench->load.followed, link, fixture_below(&runner->random, 3));
		if (i % 64 == 0) {
			const struct link_measured measured = {
				.rtt_us = 10000 + fixture_below(&runner->random, 2000),
				.bits_down = fixture_below(&runner->random, 20000000),
				.sending = load_sending(&bench->load, link),
			};

			link_runtime_set_measured(&bench->runtime, link, &measured);
		}
		if (i % 512 == 0)
			link_runtime_set_weight(&bench->runtime, link, 1 + fixture_below(&runner->random, 9));
		if (i % 128 == 0)
			atomic_store(&bench->load.unreported, fixture_below(&runner->random, 400));
		if (i % 256 == 0) {
			const struct sched_input input = input_of(bench, 0, LINKS, 0);
			const enum scheduler scheduler = some_scheduler(&runner->random);
			int64_t scores[CONFIG_MAX_LINKS];

			runner->wrong |= !(LINKS >> sched_peek(scheduler, bench->state[0], &input, scores) & 1);
		}
	}
	return NULL;
}

/* Once all is quiet, what a worker knows of each candidate is what there is, and the root knows the least */
static void check_known(const struct bench *bench, unsigned worker, uint64_t candidates)
{
	const struct sched_input input = input_of(bench, 0, candidates, 0);
	const struct sched_lineup *lineup;
	uint64_t least = UINT64_MAX;

	sched_pick(SCHED_LEAST_LOAD, bench->state[worker], &input);
	lineup = &bench->state[worker]->group[0].lineup[bench->state[worker]->group[0].last];
	assert_true(lineup->candidates == candidates);
	assert_int_equal(lineup->counts.seen_followed, atomic_load(&bench->load.followed.changes));
	for (uint64_t links = candidates; links; links &= links - 1) {
		const unsigned link = (unsigned)__builtin_ctzll(links);

		const uint64_t known = lineup->counts.load[CONFIG_MAX_LINKS + link];
		const double there = (1.0 + load_sending(&bench->load, link)) / lineup->counts.capacity[link];

		assert_true(known == (sched_load_bits(there) | link));
		least = known < least ? known : least;
	}
	assert_true(lineup->counts.load[lineup->span.root] == least);
}

static void test_threads_know_all_once_it_is_quiet(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 5; round++) {
		struct bench *bench = bench_new();
		struct runner runners[THREADS];
		pthread_t threads[THREADS];

		for (unsigned i = 0; i < THREADS; i++) {
			runners[i] = (struct runner){ bench, i, fixture_random(&random), false };
			/* the last one is no worker */
			assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS - 1 ? run_worker : run_control,
							&runners[i]),
					 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			assert_false(runners[i].wrong);
		}
		for (unsigned i = 0; i < THREADS - 1; i++) {
			check_known(bench, i, LINKS);
			check_known(bench, i, LINKS & 0xffffffff);
		}
		bench_free(bench);
	}
}

/* ---- the list of changes ---- */

#define CHANGES 1000000

/* The link of a change, by its number */
static unsigned link_of(uint32_t change)
{
	return change * 2654435761u >> 26;
}

static void *run_writer(void *argument)
{
	for (uint32_t i = 0; i < CHANGES; i++) {
		load_add(argument, link_of(i), 1);
		/* about as fast as the other one looks */
		for (volatile unsigned spin = link_of(i) / 2 + i / 1000 % 64; spin; spin--)
			;
	}
	return NULL;
}

/* Nothing that was published is missed, however the writer overtakes */
static void test_no_change_is_missed(void **state)
{
	struct bench *bench = bench_new();
	struct load_counts *counts = &bench->load.followed;
	uint32_t seen = 0, listed = 0;
	pthread_t writer;

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, run_writer, counts), 0);
	while (seen < CHANGES) {
		const uint32_t from = seen;
		const uint64_t links = load_changed(counts, &seen);
		uint64_t expected = 0;

		for (uint32_t change = from; change != seen && links != UINT64_MAX; change++, listed++)
			expected |= UINT64_C(1) << link_of(change);
		if (expected & ~links) {
			pthread_join(writer, NULL);
			fail_msg("changes %u to %u: %#llx is missing", from, seen,
				 (unsigned long long)(expected & ~links));
		}
	}
	pthread_join(writer, NULL);
	print_message("%u of %u changes were listed\n", listed, CHANGES);
	bench_free(bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets_with_a_link_of_their_own),
		cmocka_unit_test(test_sets_apart),
		cmocka_unit_test(test_any_sets),
		cmocka_unit_test(test_far_links_are_measured),
		cmocka_unit_test(test_stamps_start_again),
		cmocka_unit_test(test_threads_know_all_once_it_is_quiet),
		cmocka_unit_test(test_no_change_is_missed),
	};

	return cmocka_run_group_tests_name("sets of candidates", tests, NULL, NULL);
}
