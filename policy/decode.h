/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/decode.h - bytes of an IP packet -> flow
 *
 * Reads at most `len` bytes and never past them; the packet may be cut short
 * (NFQUEUE copies only a prefix), only the headers up to the ports must be there.
 * Sources: RFC 791, RFC 8200 (extension headers), RFC 4302 (AH), RFC 5595 ff.
 */
#ifndef POLICY_DECODE_H
#define POLICY_DECODE_H

#include <stddef.h>

#include "policy/flow.h"

enum decode_result {
	DECODE_OK,
	DECODE_EMPTY, /* no bytes at all */
	DECODE_VERSION, /* neither IPv4 nor IPv6 */
	DECODE_TRUNCATED, /* a header ends after the bytes do */
	DECODE_HEADER, /* a length field contradicts itself */
	DECODE_FRAGMENT, /* a later fragment: no ports (cannot happen behind conntrack, does in captures) */
	DECODE_EXTENSIONS, /* more IPv6 extension headers than any host sends */
	DECODE_RESULTS
};

/* `out` is filled as far as it was read, and complete with DECODE_OK */
enum decode_result decode_packet(const uint8_t *bytes, size_t len, struct flow *out);

/* The same, and with DECODE_OK the offset of the transport header: for readers of
 * captures, who need from it what the kernel's conntrack tells the daemon */
enum decode_result decode_packet_transport(const uint8_t *bytes, size_t len, struct flow *out, size_t *transport);

/* A short reason, e.g. "truncated" */
const char *decode_result_name(enum decode_result result);

#endif
