/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_decode.c - the packet decoder
 *
 * Every sample is also cut at every length, in a heap block of exactly that
 * length, so that the address sanitizer sees a read past the end.
 */
#include "tests/unit/fixture.h"
#include "tests/unit/samples.h"

static enum decode_result decode_copy(const uint8_t *bytes, size_t len, struct flow *out)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum decode_result result;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	result = decode_packet(copy, len, out);
	free(copy);
	return result;
}

static void expect_flow(const struct sample *sample, const struct flow *flow)
{
	const struct flow_addr src = fixture_addr(sample->family == 4 ? "192.0.2.1" : "2001:db8::1");
	const struct flow_addr dst = fixture_addr(sample->family == 4 ? "198.51.100.2" : "2001:db8::2");

	assert_int_equal(flow->family, sample->family);
	assert_int_equal(flow->protocol, sample->protocol);
	assert_int_equal(flow->dscp, sample->dscp);
	assert_int_equal(flow->sport, sample->sport);
	assert_int_equal(flow->dport, sample->dport);
	assert_int_equal(flow->ports, sample->ports);
	assert_memory_equal(&flow->src, &src, sizeof(src));
	assert_memory_equal(&flow->dst, &dst, sizeof(dst));
}

static void test_samples(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *sample = &samples[i];
		struct flow flow;
		const enum decode_result result = decode_copy(sample->bytes, sample->len, &flow);

		if (result != sample->result)
			print_error("%s: %s\n", sample->name, decode_result_name(result));
		assert_int_equal(result, sample->result);
		if (sample->family && sample->result == DECODE_OK)
			expect_flow(sample, &flow);
		else
			assert_int_equal(flow.protocol, sample->protocol);
	}
}

static void test_cut_at_every_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		const struct sample *sample = &samples[i];

		for (size_t len = 0; len <= sample->len; len++) {
			struct flow flow;
			const enum decode_result result = decode_copy(sample->bytes, len, &flow);
			enum decode_result expected = len < sample->needed ? DECODE_TRUNCATED : sample->result;

			if (!len)
				expected = DECODE_EMPTY;
			if (result != expected)
				print_error("%s cut to %zu: %s\n", sample->name, len, decode_result_name(result));
			assert_int_equal(result, expected);
		}
	}
}

/* Any bytes at all: no crash, no read past the end, and only sane flows */
static void test_mutations(void **state)
{
	uint64_t random = fixture_seed();

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		const struct sample *sample = &samples[fixture_below(&random, SAMPLES)];
		uint8_t bytes[sizeof(sample->bytes)];
		struct flow flow;
		enum decode_result result;

		memcpy(bytes, sample->bytes, sizeof(bytes));
		for (unsigned n = fixture_below(&random, 5); n; n--)
			bytes[fixture_below(&random, (uint32_t)sample->len)] = (uint8_t)fixture_random(&random);
		result = decode_copy(bytes, fixture_below(&random, (uint32_t)sample->len + 1), &flow);
		assert_in_range(result, 0, DECODE_RESULTS - 1);
		if (result == DECODE_OK) {
			assert_true(flow.family == 4 || flow.family == 6);
			assert_true(flow.dscp < 64);
			assert_true(flow.ports || !flow.dport);
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < DECODE_RESULTS; i++)
		assert_non_null(decode_result_name((enum decode_result)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_cut_at_every_length),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("decode", tests, NULL, NULL);
}
