/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_replay_link - link layers of captures: the right offset, and never a byte
 * too far, however a frame is cut or spoilt. Frames are copied to allocations of
 * their exact size, where sanitizers and valgrind see a read past the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pcap/dlt.h>

#include "bench/replay_link.h"
/* link_strip() belongs to a program, not to a library */
#include "bench/replay_link.c" /* NOLINT(bugprone-suspicious-include) */

#define MAX_FRAME 128
#define SPOILT_FRAMES 300000

/* What stands before an IP packet. NFLOG's attributes are written for little-endian machines. */
#define MAC "\2\0\0\0\0\1\2\0\0\0\0\2"
#define HEADER(text) .header = (text), .len = sizeof(text) - 1

static const struct {
	const char *name;
	int linktype;
	const char *header;
	size_t len;
} frames[] = {
	{ "ethernet", DLT_EN10MB, HEADER(MAC "\x08\x00") },
	{ "vlan", DLT_EN10MB, HEADER(MAC "\x81\x00\x00\x0a\x08\x00") },
	{ "qinq", DLT_EN10MB, HEADER(MAC "\x88\xa8\x00\x64\x81\x00\x00\x0a\x86\xdd") },
	{ "old qinq", DLT_EN10MB, HEADER(MAC "\x91\x00\x00\x64\x81\x00\x00\x0a\x08\x00") },
	{ "pppoe", DLT_EN10MB, HEADER(MAC "\x88\x64\x11\x00\x00\x07\x00\x06\x00\x21") },
	{ "snap", DLT_EN10MB, HEADER(MAC "\x00\x0c\xaa\xaa\x03\x00\x00\x00\x08\x00") },
	{ "llc", DLT_EN10MB, HEADER(MAC "\x00\x07\x06\x06\x03") },
	{ "mpls", DLT_EN10MB, HEADER(MAC "\x88\x47\x00\x01\x20\x40\x00\x01\x31\x40") },
	{ "pseudowire", DLT_EN10MB, HEADER(MAC "\x88\x47\x00\x01\x41\x40\x00\x00\x00\x00" MAC "\x08\x00") },
	{ "ppp", DLT_PPP, HEADER("\xff\x03\x00\x21") },
	{ "ppp, compressed", DLT_PPP, HEADER("\x57") },
	{ "ppp, mpls", DLT_PPP, HEADER("\xff\x03\x02\x81\x00\x01\x21\x40") },
	{ "ppp serial", DLT_PPP_SERIAL, HEADER("\xff\x03\x00\x57") },
	{ "ppp ethernet", DLT_PPP_ETHER, HEADER("\x11\x00\x00\x07\x00\x06\x00\x21") },
	{ "hdlc", DLT_C_HDLC, HEADER("\x0f\x00\x08\x00") },
	{ "hdlc with ppp", DLT_C_HDLC, HEADER("\xff\x03\x00\x21") },
	{ "label stack", DLT_MPLS, HEADER("\x00\x01\x20\x40\x00\x01\x31\x40") },
	{ "sll", DLT_LINUX_SLL, HEADER("\x00\x04\x00\x01\x00\x06\2\0\0\0\0\1\0\0\x08\x00") },
	{ "sll2", DLT_LINUX_SLL2, HEADER("\x86\xdd\0\0\0\0\0\2\0\1\4\6\2\0\0\0\0\1\0\0") },
	{ "sll2, vlan", DLT_LINUX_SLL2, HEADER("\x81\0\0\0\0\0\0\2\0\1\4\6\2\0\0\0\0\1\0\0\x00\x0a\x08\x00") },
	{ "null, little-endian", DLT_NULL, HEADER("\x1e\0\0\0") },
	{ "null, big-endian", DLT_NULL, HEADER("\0\0\0\x02") },
	{ "loop", DLT_LOOP, HEADER("\0\0\0\x18") },
	{ "raw", DLT_RAW, HEADER("") },
	{ "ipv4", DLT_IPV4, HEADER("") },
	{ "ipv6", DLT_IPV6, HEADER("") },
	{ "802.11", DLT_IEEE802_11, HEADER("\x08\x01\0\0" MAC "\2\0\0\0\0\3\0\0\xaa\xaa\3\0\0\0\x08\x00") },
	{ "802.11, all fields", DLT_IEEE802_11,
	  HEADER("\x88\x83\0\0" MAC "\2\0\0\0\0\3\0\0\2\0\0\0\0\4\0\0\0\0\0\0\xaa\xaa\3\0\0\0\x08\x00") },
	{ "radiotap, padded", DLT_IEEE802_11_RADIO,
	  HEADER("\0\0\x11\0\3\0\0\0\0\0\0\0\0\0\0\0\x20\x88\1\0\0" MAC
		 "\2\0\0\0\0\3\0\0\0\0\0\0\xaa\xaa\3\0\0\0\x08\0") },
	{ "radiotap, more words", DLT_IEEE802_11_RADIO,
	  HEADER("\0\0\x11\0\2\0\0\x80\0\0\0\x80\0\0\0\0\0\x08\1\0\0" MAC "\2\0\0\0\0\3\0\0\xaa\xaa\3\0\0\0\x08\x00") },
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	{ "nflog", DLT_NFLOG, HEADER("\2\0\0\5\x08\0\1\0\x08\0\3\0\x06\0\x0a\0lo\0\0\x18\0\x09\0") },
#endif
};

#define FRAMES (sizeof(frames) / sizeof(frames[0]))
static const char packet[] = "\x45\0\0\x14"
			     "some IPv4 packet";

/* link_strip() on a copy that ends where the frame ends; the payload's offset in `at` */
static enum link_result strip(const uint8_t *bytes, size_t len, int linktype, size_t *at, size_t *n)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct link_payload out = { 0 };
	enum link_result result;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	result = link_strip(copy, len, linktype, &out);
	assert_true(result < LINK_RESULTS);
	if (result == LINK_OK) {
		assert_true(out.bytes >= copy && out.bytes + out.len <= copy + len);
		*at = (size_t)(out.bytes - copy);
		*n = out.len;
	}
	free(copy);
	return result;
}

static size_t build(size_t i, uint8_t out[MAX_FRAME])
{
	memcpy(out, frames[i].header, frames[i].len);
	memcpy(out + frames[i].len, packet, sizeof(packet) - 1);
	return frames[i].len + sizeof(packet) - 1;
}

static void test_finds_packet(void **state)
{
	uint8_t frame[MAX_FRAME];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		size_t len = build(i, frame), at = SIZE_MAX, n = 0;

		assert_true(link_supported(frames[i].linktype));
		if (strip(frame, len, frames[i].linktype, &at, &n) != LINK_OK || at != frames[i].len)
			fail_msg("%s: packet at %zu, expected %zu", frames[i].name, at, frames[i].len);
		assert_int_equal(n, sizeof(packet) - 1);
	}
}

static void test_cut_headers(void **state)
{
	uint8_t frame[MAX_FRAME];

	(void)state;
	for (size_t i = 0; i < FRAMES; i++) {
		size_t at, n;

		build(i, frame);
		for (size_t len = 0; len < frames[i].len; len++) {
			if (strip(frame, len, frames[i].linktype, &at, &n) == LINK_OK)
				fail_msg("%s: a packet in the first %zu bytes of a header of %zu", frames[i].name, len,
					 frames[i].len);
		}
	}
}

static void test_spoilt_frames(void **state)
{
	const char *given = getenv("TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	uint8_t frame[MAX_FRAME];

	(void)state;
	print_message("TEST_SEED=%u\n", seed);
	srandom(seed);
	for (unsigned turn = 0; turn < SPOILT_FRAMES; turn++) {
		size_t i = (size_t)random() % FRAMES, len = build(i, frame), at, n;

		for (long spoil = random() % 4; spoil >= 0; spoil--)
			frame[(size_t)random() % len] = (uint8_t)random();
		strip(frame, (size_t)random() % (len + 1), frames[i].linktype, &at, &n);
	}
}

static void test_names_what_is_wrong(void **state)
{
	static const uint8_t arp[] = MAC "\x08\x06";
	static const uint8_t encrypted[] = "\x08\x41\0\0" MAC "\2\0\0\0\0\3\0\0\xaa\xaa\3\0\0\0\x08\x00";
	static const uint8_t beacon[64] = { 0x80 };
	static const uint8_t tag[4] = { 0x81, 0x00, 0x00, 0x01 };
	uint8_t deep[14 + 4 * 64] = MAC;
	size_t at, n;

	(void)state;
	for (size_t i = 12; i + 4 <= sizeof(deep); i += 4)
		memcpy(deep + i, tag, sizeof(tag));
	assert_int_equal(strip(arp, sizeof(arp) - 1, DLT_EN10MB, &at, &n), LINK_NOT_IP);
	assert_int_equal(strip(arp, 13, DLT_EN10MB, &at, &n), LINK_TRUNCATED);
	assert_int_equal(strip(encrypted, sizeof(encrypted) - 1, DLT_IEEE802_11, &at, &n), LINK_NOT_IP);
	assert_int_equal(strip(beacon, sizeof(beacon), DLT_IEEE802_11, &at, &n), LINK_NOT_IP);
	assert_int_equal(strip(deep, sizeof(deep), DLT_EN10MB, &at, &n), LINK_DEEP);
	assert_false(link_supported(DLT_USB_LINUX));
	assert_int_equal(strip(arp, sizeof(arp), DLT_USB_LINUX, &at, &n), LINK_NOT_IP);
	for (unsigned i = 0; i < LINK_RESULTS; i++)
		assert_non_null(link_result_name((enum link_result)i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_packet),
		cmocka_unit_test(test_cut_headers),
		cmocka_unit_test(test_spoilt_frames),
		cmocka_unit_test(test_names_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
