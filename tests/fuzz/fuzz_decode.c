/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/fuzz_decode.c - any bytes through the packet decoder
 */
#include "policy/decode.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct flow flow;
	const enum decode_result result = decode_packet(bytes, len, &flow);

	expect(result < DECODE_RESULTS);
	expect(flow.dscp < 64);
	expect(!flow.family || bytes[0] >> 4 == flow.family);
	if (result == DECODE_OK) {
		expect(flow.family == 4 || flow.family == 6);
		expect(flow.ports || !flow.dport);
	}
	return 0;
}
