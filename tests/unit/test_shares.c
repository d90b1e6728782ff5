/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_shares.c - the fallback's weights, and slots from weights
 */
#include <inttypes.h>
#include <time.h>

#include "tests/unit/config_util.h"

#include "policy/shares.h"

#define LINKS 3
#define CASES 20000
/* least-load, but for wrr() */
#define OFFICE                                                          \
	LAN "link \"a\" { id = 1  interface = \"wan0\"  weight = 3 }\n" \
	    "link \"b\" { id = 2  interface = \"wan1\"  weight = 2 }\n" \
	    "link \"c\" { id = 5  interface = \"wan2\"  weight = 1 }\n"

struct office {
	struct policy *policy;
	struct link_runtime runtime;
	struct shares_seen seen;
};

static struct office *office_new(const char *text)
{
	struct office *office = aligned_alloc(_Alignof(struct office), sizeof(*office));
	struct config *config = load_text(text);

	assert_non_null(office);
	memset(office, 0, sizeof(*office));
	link_runtime_init(&office->runtime, config);
	office->policy = policy_compile(config);
	assert_non_null(office->policy);
	return office;
}

static void office_free(struct office *office)
{
	policy_free(office->policy);
	free(office);
}

static unsigned weigh(const struct office *office, uint64_t candidates, uint64_t weights[CONFIG_MAX_LINKS])
{
	const struct shares_input input = {
		.policy = office->policy,
		.runtime = &office->runtime,
		.seen = &office->seen,
		.family = 4,
		.candidates = candidates,
	};

	return shares_weigh(&input, weights);
}

static void expect_weights(const struct office *office, uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t weights[CONFIG_MAX_LINKS];

	weigh(office, 7, weights);
	assert_int_equal(weights[0], a);
	assert_int_equal(weights[1], b);
	assert_int_equal(weights[2], c);
	for (unsigned i = LINKS; i < CONFIG_MAX_LINKS; i++)
		assert_int_equal(weights[i], 0);
}

static void expect_slots(const struct office *office, unsigned a, unsigned b, unsigned c)
{
	uint64_t weights[CONFIG_MAX_LINKS];
	struct shares_deal deal;

	weigh(office, 7, weights);
	shares_deal(weights, &deal);
	assert_int_equal(shares_slots(&deal, 0), a);
	assert_int_equal(shares_slots(&deal, 1), b);
	assert_int_equal(shares_slots(&deal, 2), c);
}

static void usable(struct office *office, uint64_t links)
{
	link_runtime_set_usable(&office->runtime, 4, links);
}

/* ---- weights ---- */

static void test_wrr_goes_by_runtime_weights(void **state)
{
	struct office *office =
		office_new(OFFICE "group \"all\" { links = { \"a\", \"b\", \"c\" }  scheduler = \"wrr\" }\n" REST);
	const uint64_t totals[CONFIG_MAX_LINKS] = { 0, 0, 100000 };
	uint64_t weights[CONFIG_MAX_LINKS];

	(void)state;
	shares_observe(&office->seen, totals); /* of no interest here */
	expect_weights(office, 3, 2, 1);
	assert_int_equal(weigh(office, 7, weights), 0);
	link_runtime_set_weight(&office->runtime, 0, 7);
	expect_weights(office, 7, 2, 1);
	usable(office, 6);
	expect_weights(office, 0, 2, 1);
	usable(office, 0); /* all the same then */
	expect_weights(office, 7, 2, 1);
	usable(office, 7);
	weigh(office, 2, weights); /* of a prefix that one link routes */
	assert_int_equal(weights[0], 0);
	assert_int_equal(weights[1], 2);
	office_free(office);
}

static void test_tiers(void **state)
{
	struct office *office = office_new(OFFICE "group \"all\" { links = { \"a\", \"b\" }  scheduler = \"wrr\"  "
						  "tier \"2\" { links = { \"c\" } } }\n" REST);

	(void)state;
	expect_weights(office, 3, 2, 0);
	usable(office, 5);
	expect_weights(office, 3, 0, 0);
	usable(office, 4);
	expect_weights(office, 0, 0, 1);
	usable(office, 0);
	expect_weights(office, 3, 2, 0);
	office_free(office);
}

static void test_stated_ratio_stays(void **state)
{
	struct office *office = office_new(LAN "link \"a\" { id = 1  interface = \"wan0\"  fallback-weight = 8 }\n"
					       "link \"b\" { id = 2  interface = \"wan1\"  weight = 5 }\n"
					       "link \"c\" { id = 5  interface = \"wan2\"  fallback-weight = 1 }\n"
					       "group \"all\" { links = { \"a\", \"b\", \"c\" } }\n" REST);

	(void)state;
	expect_weights(office, 8, 0, 1);
	link_runtime_set_weight(&office->runtime, 0, 1);
	expect_weights(office, 8, 0, 1);
	usable(office, 6);
	expect_weights(office, 0, 0, 1);
	usable(office, 2); /* only the one that is not to be used */
	expect_weights(office, 8, 0, 1);
	office_free(office);
}

static void test_final_rule_of_one_link(void **state)
{
	static const char other[] = OFFICE "rule \"rest\" { use = \"b\" }\n";
	static const char reject[] = OFFICE "rule \"rest\" { use = \"b\"  if-down = \"reject\" }\n";
	static const char bypass[] = OFFICE "rule \"rest\" { use = \"bypass\" }\n";
	struct office *office = office_new(other);

	(void)state;
	expect_weights(office, 0, 2, 0);
	usable(office, 5);
	expect_weights(office, 3, 0, 1);
	office_free(office);
	office = office_new(reject);
	usable(office, 5);
	expect_weights(office, 0, 2, 0);
	office_free(office);
	office = office_new(bypass);
	expect_weights(office, 0, 0, 0);
	expect_slots(office, 0, 0, 0);
	office_free(office);
}

/* least-load: capacities at first, then what was given; what is long ago is forgotten */
static void test_measured(void **state)
{
	struct office *office = office_new(OFFICE "group \"all\" { links = { \"a\", \"b\", \"c\" } }\n" REST);
	uint64_t totals[CONFIG_MAX_LINKS] = { 0 }, weights[CONFIG_MAX_LINKS];

	(void)state;
	expect_slots(office, 120, 80, 40);
	assert_true(weigh(office, 7, weights) >= SHARES_SLOTS / 50);
	totals[2] = 6; /* few flows prove little */
	shares_observe(&office->seen, totals);
	expect_slots(office, 110, 73, 57);
	for (unsigned second = 0; second < 60; second++) {
		totals[0] += 2000;
		totals[1] += 1000;
		totals[2] += 1000;
		shares_observe(&office->seen, totals);
	}
	expect_slots(office, 120, 60, 60);
	usable(office, 6);
	expect_slots(office, 0, 120, 120);
	usable(office, 7);
	for (unsigned second = 0; second < 10; second++) {
		totals[1] += 4000;
		shares_observe(&office->seen, totals);
	}
	weigh(office, 7, weights);
	assert_true(weights[1] > weights[0] + weights[2]);
	for (unsigned second = 0; second < 200; second++)
		shares_observe(&office->seen, totals);
	expect_slots(office, 120, 80, 40); /* nothing for minutes */
	atomic_store(&office->runtime.scheduler[0], SCHED_WRR);
	expect_weights(office, 3, 2, 1);
	office_free(office);
}

static void test_measured_starts_from_capacities(void **state)
{
	struct office *office = office_new(OFFICE "group \"all\" { links = { \"a\", \"b\", \"c\" } }\n" REST);

	(void)state;
	link_runtime_set_capacity(&office->runtime, 0, UINT32_MAX); /* 3 * 2^32 */
	link_runtime_set_capacity(&office->runtime, 1, UINT32_MAX / 2); /* 1 * 2^32; the third counts as their mean */
	expect_slots(office, 152, 50, 38);
	office_free(office);
}

/* ---- slots ---- */

static void deal_of(const uint64_t *some, size_t n, struct shares_deal *deal)
{
	uint64_t weights[CONFIG_MAX_LINKS] = { 0 };

	memcpy(weights, some, n * sizeof(*some));
	shares_deal(weights, deal);
}

static void test_slots(void **state)
{
	struct shares_deal deal;

	(void)state;
	deal_of((uint64_t[]){ 0 }, 1, &deal);
	assert_int_equal(shares_slots(&deal, SHARES_MAIN), SHARES_SLOTS);
	deal_of((uint64_t[]){ 0, 1 }, 2, &deal);
	assert_int_equal(shares_slots(&deal, 1), SHARES_SLOTS);
	deal_of((uint64_t[]){ 3, 2, 1 }, 3, &deal);
	assert_memory_equal(deal.slot, ((uint8_t[]){ 0, 1, 0, 2, 1, 0, 0, 1, 0, 2, 1, 0 }), 12);
	deal_of((uint64_t[]){ 1000000, 1, 0, 1 }, 4, &deal);
	assert_int_equal(shares_slots(&deal, 0), SHARES_SLOTS - 2);
	assert_int_equal(shares_slots(&deal, 1), 1);
	assert_int_equal(shares_slots(&deal, 3), 1);
	deal_of((uint64_t[]){ 1, 1, 1, 1, 1, 1, 1 }, 7, &deal); /* 34.3 each: the first two are lucky */
	assert_int_equal(shares_slots(&deal, 0), 35);
	assert_int_equal(shares_slots(&deal, 1), 35);
	assert_int_equal(shares_slots(&deal, 2), 34);
	deal_of((uint64_t[]){ UINT64_C(1) << 57, UINT64_C(1) << 57, 1 }, 3, &deal);
	assert_int_equal(shares_slots(&deal, 0) + shares_slots(&deal, 1), SHARES_SLOTS - 1);
}

static void test_differ(void **state)
{
	struct shares_deal now, wanted;

	(void)state;
	deal_of((uint64_t[]){ 3, 2, 1 }, 3, &now);
	wanted = now;
	assert_false(shares_differ(&now, &wanted, 0));
	wanted.slot[0] = now.slot[1];
	wanted.slot[1] = now.slot[0]; /* the order alone */
	assert_false(shares_differ(&now, &wanted, 0));
	deal_of((uint64_t[]){ 116, 80, 44 }, 3, &wanted);
	assert_true(shares_differ(&now, &wanted, 0));
	assert_true(shares_differ(&now, &wanted, 3));
	assert_false(shares_differ(&now, &wanted, 4));
	deal_of((uint64_t[]){ 120, 80, 39, 1 }, 4, &wanted); /* a link that comes is worth it */
	assert_true(shares_differ(&now, &wanted, 4));
	assert_true(shares_differ(&wanted, &now, 4));
	wanted = now;
	now.slot[7] = SHARES_UNSET;
	assert_true(shares_differ(&now, &wanted, 4));
}

/* ---- properties ---- */

static uint64_t random_state;

static uint64_t draw(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

/* Of all links with a weight: one slot at least; who has more weight has no fewer slots; and no
 * link could give a slot to another and both be nearer to their shares than now */
static void check_slots(const uint64_t *weights, const unsigned *slots, double sum)
{
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
		assert_true(weights[i] ? slots[i] >= 1 : slots[i] == 0);
		for (unsigned j = 0; j < CONFIG_MAX_LINKS; j++) {
			const double share = (double)weights[i] * SHARES_SLOTS / sum;
			const double other = (double)weights[j] * SHARES_SLOTS / sum;

			if (weights[i] > weights[j])
				assert_true(slots[i] >= slots[j]);
			if (slots[i] > 1 && weights[j])
				assert_false(slots[i] - share > 1.000001 && other - slots[j] > 1.000001);
		}
	}
}

/* No bursts: after each turn every link has had its share of the turns, but for as many as links */
static void check_turns(const struct shares_deal *deal, const unsigned *slots, unsigned n)
{
	unsigned had[CONFIG_MAX_LINKS] = { 0 };

	for (unsigned turn = 0; turn < SHARES_SLOTS; turn++) {
		had[deal->slot[turn]]++;
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++) {
			const double due = (double)slots[i] * (turn + 1) / SHARES_SLOTS;

			assert_true(due - had[i] < n / 2.0 + 1 && had[i] - due < 1.000001);
		}
	}
}

static void test_random_weights(void **state)
{
	const uint64_t seed = (uint64_t)time(NULL);

	(void)state;
	print_message("seed %" PRIu64 "\n", seed);
	random_state = seed | 1;
	for (unsigned round = 0; round < CASES; round++) {
		uint64_t weights[CONFIG_MAX_LINKS] = { 0 }, sum = 0;
		const unsigned n = 1 + (unsigned)draw(round % 10 ? 8 : CONFIG_MAX_LINKS);
		unsigned slots[CONFIG_MAX_LINKS], total = 0;
		struct shares_deal deal;

		for (unsigned i = 0; i < n; i++)
			weights[i] = draw(5) ? 1 + draw(UINT64_C(1) << draw(40)) : 0;
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
			sum += weights[i];
		if (!sum)
			continue;
		shares_deal(weights, &deal);
		for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
			total += slots[i] = shares_slots(&deal, i);
		assert_int_equal(total, SHARES_SLOTS);
		check_slots(weights, slots, (double)sum);
		check_turns(&deal, slots, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrr_goes_by_runtime_weights),
		cmocka_unit_test(test_tiers),
		cmocka_unit_test(test_stated_ratio_stays),
		cmocka_unit_test(test_final_rule_of_one_link),
		cmocka_unit_test(test_measured),
		cmocka_unit_test(test_measured_starts_from_capacities),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_differ),
		cmocka_unit_test(test_random_weights),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
