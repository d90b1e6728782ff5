/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_flow.c - addresses, networks, hashes
 *
 * Includes the source to reach siphash(), which has published test vectors.
 */
#include "policy/flow.c"

#include "tests/unit/fixture.h"

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		int family;
	} cases[] = {
		{ "192.0.2.1", 4 },
		{ "0.0.0.0", 4 },
		{ "2001:db8::1", 6 },
		{ "::", 6 },
		{ "::1", 6 },
		{ "192.0.2", 0 },
		{ "192.0.2.256", 0 },
		{ "192.0.2.1 ", 0 },
		{ "", 0 },
		{ "2001:db8::1::", 0 },
		{ "::ffff:192.0.2.1", 0 },
		{ "eth0", 0 },
		{ "192.0.2.1/32", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct flow_addr addr;
		char text[FLOW_ADDR_STRLEN];

		assert_int_equal(flow_addr_parse(cases[i].text, &addr), cases[i].family);
		if (!cases[i].family)
			continue;
		assert_string_equal(flow_addr_str(&addr, text), cases[i].text);
		assert_int_equal(flow_addr_family(&addr), cases[i].family);
	}
}

static void test_networks(void **state)
{
	static const struct {
		const char *text;
		int family, bits; /* family 0: refused */
	} cases[] = {
		{ "192.0.2.0/24", 4, 120 },
		{ "192.0.2.1", 4, 128 },
		{ "0.0.0.0/0", 4, 96 },
		{ "10.1.0.0/16", 4, 112 },
		{ "2001:db8:1::/48", 6, 48 },
		{ "::/0", 6, 0 },
		{ "2001:db8::1", 6, 128 },
		{ "2001:db8::/29", 6, 29 },
		{ "192.0.2.1/24", 0, 0 },
		{ "192.0.2.0/33", 0, 0 },
		{ "192.0.2.0/", 0, 0 },
		{ "192.0.2.0/-1", 0, 0 },
		{ "192.0.2.0/24x", 0, 0 },
		{ "192.0.2.0/ 24", 0, 0 },
		{ "192.0.2.0/024", 0, 0 },
		{ "/24", 0, 0 },
		{ "2001:db8::1/64", 0, 0 },
		{ "2001:db8::/129", 0, 0 },
		{ "192.0.2.0/99999999999999999999", 0, 0 },
		{ "2001:db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/32", 0, 0 },
		{ "::ffff:0.0.0.0/96", 0, 0 },
		{ "", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct flow_net net;
		const bool ok = flow_net_parse(cases[i].text, &net);

		if (ok != !!cases[i].family)
			print_error("%s\n", cases[i].text);
		assert_int_equal(ok, !!cases[i].family);
		if (!ok)
			continue;
		assert_int_equal(net.family, cases[i].family);
		assert_int_equal(net.bits, cases[i].bits);
	}
}

static bool contains(const char *net_text, const char *addr_text)
{
	const struct flow_net net = fixture_net(net_text);
	const struct flow_addr addr = fixture_addr(addr_text);

	return flow_net_contains(&net, &addr);
}

static void test_contains(void **state)
{
	(void)state;
	assert_true(contains("192.0.2.0/24", "192.0.2.255"));
	assert_false(contains("192.0.2.0/24", "192.0.3.0"));
	assert_true(contains("192.0.2.4/30", "192.0.2.7"));
	assert_false(contains("192.0.2.4/30", "192.0.2.8"));
	assert_true(contains("192.0.2.1", "192.0.2.1"));
	assert_false(contains("192.0.2.1", "192.0.2.0"));
	assert_true(contains("0.0.0.0/0", "203.0.113.9"));
	assert_false(contains("0.0.0.0/0", "2001:db8::1"));
	assert_true(contains("::/0", "2001:db8::1"));
	assert_false(contains("::/0", "192.0.2.1"));
	assert_true(contains("2001:db8:1::/48", "2001:db8:1:ffff::1"));
	assert_false(contains("2001:db8:1::/48", "2001:db8:2::1"));
	assert_true(contains("2001:db8::/29", "2001:dbf::1"));
	assert_false(contains("2001:db8::/29", "2001:dc0::1"));
}

/* Vectors of the reference implementation: key 00 01 .. 0f, message 00 01 .. */
static void test_siphash_vectors(void **state)
{
	const uint64_t key[2] = { 0x0706050403020100, 0x0f0e0d0c0b0a0908 };
	const uint64_t word = 0x0706050403020100;

	(void)state;
	assert_int_equal(siphash(NULL, 0, key), 0x726fdb47dd0e0e31);
	assert_int_equal(siphash(&word, 1, key), 0x93f5f5799a932462);
	assert_int_equal(siphash13(NULL, 0, key), 0xabac0158050fc4dc);
	assert_int_equal(siphash13(&word, 1, key), 0x369095118d299a8e);
}

static void test_what_the_hashes_see(void **state)
{
	const uint64_t key[2] = { 1, 2 }, other_key[2] = { 1, 3 };
	const struct flow flow = fixture_flow("10.1.0.7", "203.0.113.9", 6, 50000, 443);
	struct flow quic = flow, elsewhere = flow;

	(void)state;
	quic.protocol = 17;
	quic.sport = 50001;
	elsewhere.dst = fixture_addr("203.0.113.10");
	assert_int_not_equal(flow_hash_tuple(&flow, key), flow_hash_tuple(&quic, key));
	assert_int_not_equal(flow_hash_tuple(&flow, key), flow_hash_tuple(&elsewhere, key));
	assert_int_not_equal(flow_hash_tuple(&flow, key), flow_hash_tuple(&flow, other_key));
	assert_int_equal(flow_hash_hosts(&flow, true, 0, key), flow_hash_hosts(&quic, true, 0, key));
	assert_int_not_equal(flow_hash_hosts(&flow, true, 0, key), flow_hash_hosts(&elsewhere, true, 0, key));
	assert_int_equal(flow_hash_hosts(&flow, false, 0, key), flow_hash_hosts(&elsewhere, false, 0, key));
	assert_int_not_equal(flow_hash_hosts(&flow, true, 0, key), flow_hash_hosts(&flow, true, 1, key));
	assert_int_not_equal(flow_hash_hosts(&flow, true, 0, key), flow_hash_hosts(&flow, true, 0, other_key));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_contains),
		cmocka_unit_test(test_siphash_vectors),
		cmocka_unit_test(test_what_the_hashes_see),
	};

	return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
