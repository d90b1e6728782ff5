/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/fuzz_link.c - any bytes as a captured frame
 *
 * The first byte chooses the link type, the rest is the frame.
 */
#include <pcap/dlt.h>

#include "bench/replay_link.h"
#include "tests/fuzz/fuzz.h"
/* link_strip() belongs to a program, not to a library */
#include "bench/replay_link.c" /* NOLINT(bugprone-suspicious-include) */

static const int linktypes[] = {
	DLT_EN10MB, DLT_RAW,	   DLT_NULL,	   DLT_LOOP,  DLT_PPP,	      DLT_PPP_ETHER,
	DLT_C_HDLC, DLT_LINUX_SLL, DLT_LINUX_SLL2, DLT_NFLOG, DLT_IEEE802_11, DLT_IEEE802_11_RADIO,
	DLT_MPLS,   DLT_USB_LINUX,
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct link_payload ip;
	enum link_result result;
	int linktype;

	if (!len)
		return 0;
	linktype = linktypes[bytes[0] % (sizeof(linktypes) / sizeof(linktypes[0]))];
	result = link_strip(bytes + 1, len - 1, linktype, &ip);
	expect(result < LINK_RESULTS);
	expect(result != LINK_OK || link_supported(linktype));
	if (result == LINK_OK)
		expect(ip.bytes > bytes && ip.len < len && ip.bytes + ip.len <= bytes + len);
	return 0;
}
