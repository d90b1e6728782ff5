/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/mark.c - one NFQA_CT attribute per mark, built when policy is published
 *
 * libnetfilter_conntrack encodes the entry; only its CTA_MARK goes into the verdict,
 * because the kernel swallows errors of anything that stands before the mark
 * (ctnetlink_glue_parse_ct()) and every byte is copied once per new flow. The
 * library knows no CTA_MARK_MASK, so that is appended.
 */
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack/mark.h"

#define MESSAGE_ROOM 512 /* an empty tuple and a mark take 64 */

static int keep_mark(const struct nlattr *attr, void *data)
{
	const struct nlattr **found = data;

	if (mnl_attr_get_type(attr) != CTA_MARK)
		return MNL_CB_OK;
	*found = attr;
	return MNL_CB_STOP;
}

/* The CTA_MARK that the library encodes for `mark`, inside `message`, or NULL */
static const struct nlattr *encode_mark(struct nlmsghdr *message, uint32_t mark)
{
	struct nf_conntrack *entry = nfct_new();
	const struct nlattr *found = NULL;

	if (!entry)
		return NULL;
	/* nfct_nlmsg_build() insists on a family; inside a verdict nobody looks at it */
	nfct_set_attr_u8(entry, ATTR_ORIG_L3PROTO, AF_INET);
	nfct_set_attr_u32(entry, ATTR_MARK, mark);
	int failed = nfct_nlmsg_build(message, entry);

	nfct_destroy(entry);
	if (!failed)
		mnl_attr_parse(message, 0, keep_mark, &found);
	return found;
}

bool conntrack_mark_attr(struct conntrack_mark_attr *out, uint32_t mark, uint32_t mask)
{
	_Alignas(struct nlmsghdr) char encoded[MESSAGE_ROOM] = { 0 }, room[MESSAGE_ROOM] = { 0 };
	const struct nlattr *attr = encode_mark(mnl_nlmsg_put_header(encoded), mark);
	struct nlmsghdr *message = mnl_nlmsg_put_header(room);

	if (!attr)
		return false;
	struct nlattr *nest = mnl_attr_nest_start(message, NFQA_CT);

	mnl_attr_put(message, CTA_MARK, mnl_attr_get_payload_len(attr), mnl_attr_get_payload(attr));
	mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
	mnl_attr_nest_end(message, nest);
	if (nest->nla_len > sizeof(out->bytes))
		return false;
	memcpy(out->bytes, nest, nest->nla_len);
	out->len = nest->nla_len;
	return true;
}
