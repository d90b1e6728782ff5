/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/mark.h - the conntrack mark inside a verdict
 *
 * NFQA_CT { CTA_MARK, CTA_MARK_MASK } nested in an NFQUEUE verdict sets
 * new = (old & ~mask) ^ mark on the packet's own, still unconfirmed entry
 * (net/netfilter/nf_conntrack_netlink.c, ctnetlink_glue_parse()). The bytes are
 * built once per mark with libnetfilter_conntrack and copied per verdict.
 */
#ifndef CONNTRACK_MARK_H
#define CONNTRACK_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONNTRACK_MARK_ATTR_MAX 32

struct conntrack_mark_attr {
	uint8_t bytes[CONNTRACK_MARK_ATTR_MAX]; /* one whole NFQA_CT attribute, padded */
	uint16_t len;
};

/* False only if the library fails (out of memory) */
bool conntrack_mark_attr(struct conntrack_mark_attr *out, uint32_t mark, uint32_t mask);

#endif
