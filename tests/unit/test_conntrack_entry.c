/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_conntrack_entry.c - the decoder of conntrack's messages against libnetfilter_conntrack's
 *
 * Random entries are written as the kernel writes them and read by both. The seed is
 * printed; SEED repeats a run.
 */
#include "tests/unit/fixture.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "conntrack/entry.c" /* NOLINT(bugprone-suspicious-include) */

#define ENTRIES 20000
#define ROOM 4096

static uint64_t random_state;

static uint32_t draw(void)
{
	return (uint32_t)(fixture_random(&random_state) >> 32);
}

static bool chance(unsigned percent)
{
	return draw() % 100 < percent;
}

static uint64_t draw64(void)
{
	return fixture_random(&random_state);
}

/* ---- as the kernel writes ---- */

static void put_address(struct nlmsghdr *message, unsigned type, size_t length)
{
	uint32_t bytes[4] = { draw(), draw(), draw(), draw() };

	mnl_attr_put(message, (uint16_t)type, length, bytes);
}

static void put_tuple(struct nlmsghdr *message, uint16_t type, bool v6, uint8_t protocol)
{
	struct nlattr *tuple = mnl_attr_nest_start(message, type), *inner;

	inner = mnl_attr_nest_start(message, CTA_TUPLE_IP);
	put_address(message, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, v6 ? 16 : 4);
	put_address(message, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, v6 ? 16 : 4);
	mnl_attr_nest_end(message, inner);
	inner = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(message, CTA_PROTO_NUM, protocol);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		const bool six = protocol == IPPROTO_ICMPV6;

		mnl_attr_put_u16(message, six ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID, (uint16_t)draw());
		mnl_attr_put_u8(message, six ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE, six ? 128 : 8);
		mnl_attr_put_u8(message, six ? CTA_PROTO_ICMPV6_CODE : CTA_PROTO_ICMP_CODE, 0);
	} else {
		mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, (uint16_t)draw());
		mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, (uint16_t)draw());
	}
	mnl_attr_nest_end(message, inner);
	mnl_attr_nest_end(message, tuple);
}

static void put_pair(struct nlmsghdr *message, uint16_t type, uint16_t first, uint16_t second, unsigned percent)
{
	struct nlattr *nest = mnl_attr_nest_start(message, type);

	mnl_attr_put_u64(message, first, htobe64(draw64()));
	if (chance(percent))
		mnl_attr_put_u64(message, second, htobe64(draw64()));
	mnl_attr_nest_end(message, nest);
}

static void put_state(struct nlmsghdr *message)
{
	struct nlattr *info = mnl_attr_nest_start(message, CTA_PROTOINFO),
		      *tcp = mnl_attr_nest_start(message, CTA_PROTOINFO_TCP);

	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_STATE, (uint8_t)(draw() % TCP_CONNTRACK_MAX));
	mnl_attr_put_u8(message, CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, (uint8_t)(draw() % 15));
	mnl_attr_nest_end(message, tcp);
	mnl_attr_nest_end(message, info);
}

static struct nlmsghdr *put_header(void *buffer, bool v6)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = v6 ? AF_INET6 : AF_INET;
	return message;
}

static struct nlmsghdr *put_entry(void *buffer)
{
	const uint8_t others[] = { IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP, IPPROTO_GRE };
	const bool v6 = chance(40);
	const uint8_t icmp = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	const uint8_t protocol = chance(50) ? IPPROTO_TCP : chance(20) ? icmp : others[draw() % sizeof(others)];
	struct nlmsghdr *message = put_header(buffer, v6);

	put_tuple(message, CTA_TUPLE_ORIG, v6, protocol);
	put_tuple(message, CTA_TUPLE_REPLY, v6, protocol);
	mnl_attr_put_u32(message, CTA_STATUS, draw());
	if (chance(80))
		mnl_attr_put_u32(message, CTA_TIMEOUT, draw());
	if (chance(70)) {
		put_pair(message, CTA_COUNTERS_ORIG, CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES, 100);
		put_pair(message, CTA_COUNTERS_REPLY, CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES, 100);
	}
	if (chance(70))
		put_pair(message, CTA_TIMESTAMP, CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP, 50);
	if (protocol == IPPROTO_TCP && chance(90))
		put_state(message);
	if (chance(80))
		mnl_attr_put_u32(message, CTA_MARK, draw());
	mnl_attr_put_u32(message, CTA_ID, draw());
	/* what is newer than the decoder is passed over */
	mnl_attr_put_u64(message, 60, draw64());
	return message;
}

/* ---- as libnetfilter_conntrack reads ---- */

static void expect_addr(const struct flow_addr *got, const struct nf_conntrack *ct, enum nf_conntrack_attr v4,
			enum nf_conntrack_attr v6, int family)
{
	struct flow_addr want = { { 0 } };

	if (family == 6) {
		memcpy(want.b, nfct_get_attr(ct, v6), 16);
	} else {
		want.b[10] = want.b[11] = 0xff;
		memcpy(want.b + 12, nfct_get_attr(ct, v4), 4);
	}
	assert_memory_equal(got->b, want.b, 16);
}

static void expect_tuples(const struct conntrack_entry *got, const struct nf_conntrack *ct)
{
	const int family = nfct_get_attr_u8(ct, ATTR_ORIG_L3PROTO) == AF_INET6 ? 6 : 4;
	const uint8_t protocol = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO);

	assert_int_equal(got->flow.family, family);
	assert_int_equal(got->flow.protocol, protocol);
	expect_addr(&got->flow.src, ct, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC, family);
	expect_addr(&got->flow.dst, ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST, family);
	expect_addr(&got->reply_src, ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC, family);
	expect_addr(&got->reply_dst, ct, ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST, family);
	assert_int_equal(got->flow.dscp, 0);
	if (protocol == IPPROTO_GRE || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
		assert_false(got->flow.ports);
		assert_int_equal(got->flow.dport, 0);
		assert_int_equal(got->flow.sport,
				 protocol == IPPROTO_GRE ? 0 : ntohs(nfct_get_attr_u16(ct, ATTR_ICMP_ID)));
		return;
	}
	assert_true(got->flow.ports);
	assert_int_equal(got->flow.sport, ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_SRC)));
	assert_int_equal(got->flow.dport, ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST)));
	assert_int_equal(got->reply_sport, ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC)));
	assert_int_equal(got->reply_dport, ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_DST)));
}

/* The library's getters give 0 for what is not there, as we do */
static void expect_rest(const struct conntrack_entry *got, const struct nf_conntrack *ct)
{
	const bool tcp = got->flow.protocol == IPPROTO_TCP;

	assert_int_equal(got->mark, nfct_get_attr_u32(ct, ATTR_MARK));
	assert_int_equal(got->timeout, nfct_get_attr_u32(ct, ATTR_TIMEOUT));
	assert_int_equal(got->status, nfct_get_attr_u32(ct, ATTR_STATUS));
	assert_int_equal(got->id, nfct_get_attr_u32(ct, ATTR_ID));
	assert_int_equal(got->tcp_state, tcp ? nfct_get_attr_u8(ct, ATTR_TCP_STATE) : 0);
	assert_int_equal(got->packets[0], nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_PACKETS));
	assert_int_equal(got->packets[1], nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_PACKETS));
	assert_int_equal(got->bytes[0], nfct_get_attr_u64(ct, ATTR_ORIG_COUNTER_BYTES));
	assert_int_equal(got->bytes[1], nfct_get_attr_u64(ct, ATTR_REPL_COUNTER_BYTES));
	assert_int_equal(got->started, nfct_get_attr_u64(ct, ATTR_TIMESTAMP_START));
	assert_int_equal(got->stopped, nfct_get_attr_u64(ct, ATTR_TIMESTAMP_STOP));
}

static void test_reads_what_the_library_reads(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM];

	(void)state;
	random_state = fixture_seed();
	for (int i = 0; i < ENTRIES; i++) {
		struct conntrack_entry got;
		struct nf_conntrack *ct = nfct_new();
		const struct nlmsghdr *message = put_entry(buffer);

		assert_non_null(ct);
		assert_int_equal(nfct_nlmsg_parse(message, ct), 0);
		assert_true(conntrack_decode(message, &got));
		expect_tuples(&got, ct);
		expect_rest(&got, ct);
		assert_int_equal(got.happened, 0);
		nfct_destroy(ct);
	}
}

static void test_time_of_an_event(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM];
	struct nlmsghdr *message = put_entry(buffer);
	struct conntrack_entry got;

	(void)state;
	mnl_attr_put_u64(message, EVENT_TIMESTAMP, htobe64(UINT64_C(1790000000123456789)));
	assert_true(conntrack_decode(message, &got));
	assert_int_equal(got.happened, UINT64_C(1790000000123456789));
}

/* As the whole, but for the replies' addresses and ports */
static void test_reads_of_an_event_what_it_reads_of_an_entry(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM];

	(void)state;
	random_state = fixture_seed();
	for (int i = 0; i < ENTRIES; i++) {
		struct conntrack_entry whole, event;
		const struct nlmsghdr *message = put_entry(buffer);

		assert_true(conntrack_decode(message, &whole));
		assert_true(conntrack_decode_event(message, &event));
		memset(&whole.reply_src, 0, sizeof(whole.reply_src));
		memset(&whole.reply_dst, 0, sizeof(whole.reply_dst));
		whole.reply_sport = whole.reply_dport = 0;
		assert_memory_equal(&whole, &event, sizeof(whole));
	}
}

/* Cut anywhere, or with a bit turned: read or refused, never beyond its end */
static void test_damaged_messages(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM];
	struct conntrack_entry got;

	(void)state;
	random_state = fixture_seed();
	for (int i = 0; i < ENTRIES; i++) {
		struct nlmsghdr *message = put_entry(buffer);
		const uint32_t length = message->nlmsg_len;
		char *copy;

		if (chance(50))
			message->nlmsg_len =
				(uint32_t)sizeof(*message) + draw() % (length - (uint32_t)sizeof(*message));
		else
			buffer[sizeof(*message) + draw() % (length - sizeof(*message))] ^= (char)(1 << draw() % 8);
		/* a block of its own size, for AddressSanitizer to watch */
		copy = malloc(message->nlmsg_len);
		assert_non_null(copy);
		memcpy(copy, buffer, message->nlmsg_len);
		conntrack_decode((const struct nlmsghdr *)(void *)copy, &got);
		conntrack_decode_event((const struct nlmsghdr *)(void *)copy, &got);
		free(copy);
	}
}

static void test_names_no_connection(void **state)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM];
	struct conntrack_entry got;
	struct nlmsghdr *message = put_header(buffer, false);

	(void)state;
	assert_false(conntrack_decode(message, &got));
	mnl_attr_put_u32(message, CTA_MARK, htonl(7));
	assert_false(conntrack_decode(message, &got));
	message->nlmsg_len = sizeof(*message) + 1;
	assert_false(conntrack_decode(message, &got));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_what_the_library_reads),
		cmocka_unit_test(test_time_of_an_event),
		cmocka_unit_test(test_reads_of_an_event_what_it_reads_of_an_entry),
		cmocka_unit_test(test_damaged_messages),
		cmocka_unit_test(test_names_no_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
