/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_human.c - numbers, names and columns as people read them
 */
#include "tests/unit/fixture.h"

#include "nfq-balancer/human.c"

static void test_bytes(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_bytes(0, out), "0");
	assert_string_equal(human_bytes(999, out), "999");
	assert_string_equal(human_bytes(1000, out), "1.0 k");
	assert_string_equal(human_bytes(1234567890, out), "1.2 G");
	assert_string_equal(human_bytes(999999, out), "999.9 k");
	assert_string_equal(human_bytes(UINT64_MAX, out), "18.4 E");
}

static void test_rate(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_rate(0, out), "0");
	assert_string_equal(human_rate(20000000, out), "20M");
	assert_string_equal(human_rate(14200000, out), "14.2M");
}

static void test_tenths(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_tenths(0, out), "0");
	assert_string_equal(human_tenths(5, out), "0.5");
	assert_string_equal(human_tenths(20, out), "2");
	assert_string_equal(human_tenths(126, out), "13");
}

static void test_age(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_age(59, out), "59 s");
	assert_string_equal(human_age(60, out), "1 min");
	assert_string_equal(human_age(7200, out), "2 h");
	assert_string_equal(human_age(3 * 86400 + 5, out), "3 d");
}

/* What is not nothing is never shown as nothing, what is not all never as all */
static void test_percent(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_percent(2, 3, out), "67 %");
	assert_string_equal(human_percent(0, 0, out), "-");
	assert_string_equal(human_percent2(9998, 10000, out), "99.98 %");
	assert_string_equal(human_percent2(10, 10, out), "100 %");
	assert_string_equal(human_percent2(0, 10, out), "0 %");
	assert_string_equal(human_percent2(1, 1000000, out), "<0.01 %");
	assert_string_equal(human_percent2(999999, 1000000, out), ">99.99 %");
	assert_string_equal(human_percent2(UINT64_MAX / 2, UINT64_MAX, out), "50.00 %");
}

static void test_protocol(void **state)
{
	char out[HUMAN_LEN];

	(void)state;
	assert_string_equal(human_protocol(6, out), "tcp");
	assert_string_equal(human_protocol(200, out), "200");
	for (unsigned i = 0; i <= UINT8_MAX; i++)
		assert_int_equal(human_protocol_parse(human_protocol((uint8_t)i, out)), i);
	assert_int_equal(human_protocol_parse("256"), -1);
	assert_int_equal(human_protocol_parse("-1"), -1);
	assert_int_equal(human_protocol_parse("6x"), -1);
	assert_int_equal(human_protocol_parse(""), -1);
}

static void test_endpoint(void **state)
{
	struct flow flow = { .src = fixture_addr("192.0.2.1"), .sport = 443, .family = 4, .ports = true };
	char out[FLOW_ADDR_STRLEN + 8];

	(void)state;
	assert_string_equal(human_endpoint(&flow, true, out), "192.0.2.1:443");
	flow.ports = false;
	assert_string_equal(human_endpoint(&flow, true, out), "192.0.2.1");
	flow = (struct flow){ .dst = fixture_addr("2001:db8::1"), .dport = 53, .family = 6, .ports = true };
	assert_string_equal(human_endpoint(&flow, false, out), "[2001:db8::1]:53");
}

static void test_file(void **state)
{
	(void)state;
	assert_string_equal(human_file("/etc/nfq-balancer/office.conf"), "office.conf");
	assert_string_equal(human_file("office.conf"), "office.conf");
}

static void test_columns(void **state)
{
	struct columns *columns = columns_new();
	char *text;

	(void)state;
	columns_add(columns, "A\tBB\tC");
	columns_add(columns, "long\t%d\tlast cell", 1);
	columns_add(columns, "x\t\t");
	text = columns_text(columns);
	assert_string_equal(text, "A     BB  C\n"
				  "long  1   last cell\n"
				  "x\n");
	free(text);
	assert_null(columns_text(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes),	 cmocka_unit_test(test_rate),	 cmocka_unit_test(test_tenths),
		cmocka_unit_test(test_age),	 cmocka_unit_test(test_percent), cmocka_unit_test(test_protocol),
		cmocka_unit_test(test_endpoint), cmocka_unit_test(test_columns), cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
