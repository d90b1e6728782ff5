/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_link.h - a captured frame -> the IP packet inside it
 *
 * Strips whatever stands before the outermost IP header. Tunnels inside IP are
 * left alone: a router steers the outer packet. Reads at most `len` bytes, keeps
 * no state, allocates nothing.
 */
#ifndef BENCH_REPLAY_LINK_H
#define BENCH_REPLAY_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum link_result {
	LINK_OK,
	LINK_NOT_IP, /* ARP, discovery, management and encrypted frames, ... */
	LINK_TRUNCATED, /* the frame ends inside a header */
	LINK_DEEP, /* more tags than any network stacks */
	LINK_RESULTS
};

/* Part of the frame given to link_strip(), not a copy */
struct link_payload {
	const uint8_t *bytes;
	size_t len;
};

/* `linktype` is a DLT_ value as pcap_datalink() returns it */
bool link_supported(int linktype);

/* Find the outermost IP packet of a frame. `out` is set with LINK_OK only. */
enum link_result link_strip(const uint8_t *bytes, size_t len, int linktype, struct link_payload *out);

/* A short lower-case reason, e.g. "not IP" */
const char *link_result_name(enum link_result result);

#endif
