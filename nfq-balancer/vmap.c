/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/vmap.c - nf_tables messages about one kind of map, over libmnl
 *
 * A batch is begun, each map is emptied and filled, the batch is ended: the kernel
 * takes it as one transaction. What is wrong with one message is answered for that
 * message, and nothing is done; only the last one asks for an answer in any case.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack/netlink.h"
#include "nfq-balancer/vmap.h"

#define ANSWER_ROOM 32768
/* one map: emptied, then each slot with 13 attribute headers, a number, a verdict and a name */
#define MAP_ROOM (256 + SHARES_SLOTS * 64)

static struct nlmsghdr *put_header(char *buffer, int type, int flags, uint32_t sequence, int family, uint16_t subsystem)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	message->nlmsg_type = (uint16_t)type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->nlmsg_seq = sequence;
	header->nfgen_family = (uint8_t)family;
	header->version = NFNETLINK_V0;
	header->res_id = htons(subsystem);
	return message;
}

/* NFNL_MSG_BATCH_BEGIN or _END; returns its length */
static size_t put_batch(char *buffer, int type, uint32_t sequence)
{
	return put_header(buffer, type, 0, sequence, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

/* A request about the elements of one map */
static struct nlmsghdr *put_request(char *buffer, int type, int flags, uint32_t sequence, const char *name)
{
	struct nlmsghdr *message =
		put_header(buffer, NFNL_SUBSYS_NFTABLES << 8 | type, flags, sequence, NFPROTO_INET, 0);

	mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_TABLE, KERNEL_NFT_TABLE);
	mnl_attr_put_strz(message, NFTA_SET_ELEM_LIST_SET, name);
	return message;
}

/* ---- reading ---- */

struct element {
	uint32_t slot;
	int code;
	const char *chain;
};

static int read_verdict(const struct nlattr *attr, void *data)
{
	struct element *element = data;

	if (mnl_attr_get_type(attr) == NFTA_VERDICT_CODE && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
		element->code = (int)ntohl(mnl_attr_get_u32(attr));
	else if (mnl_attr_get_type(attr) == NFTA_VERDICT_CHAIN && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
		element->chain = mnl_attr_get_str(attr);
	return MNL_CB_OK;
}

static int read_value(const struct nlattr *attr, void *data)
{
	struct element *element = data;

	/* numgen counts in the processor's own byte order */
	if (mnl_attr_get_type(attr) == NFTA_DATA_VALUE && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
		element->slot = mnl_attr_get_u32(attr);
	else if (mnl_attr_get_type(attr) == NFTA_DATA_VERDICT)
		mnl_attr_parse_nested(attr, read_verdict, element);
	return MNL_CB_OK;
}

static int read_element(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_KEY || mnl_attr_get_type(attr) == NFTA_SET_ELEM_DATA)
		mnl_attr_parse_nested(attr, read_value, data);
	return MNL_CB_OK;
}

struct reading {
	const struct config *config;
	struct shares_deal *deal;
};

static uint8_t link_of_chain(const struct config *config, const struct element *element)
{
	unsigned id;
	int link = -1;

	if (element->code != NFT_GOTO || !element->chain)
		return SHARES_UNSET;
	if (!strcmp(element->chain, "take_main"))
		return SHARES_MAIN;
	if (sscanf(element->chain, "take_%u", &id) == 1)
		link = config_link_by_id(config, id);
	return link < 0 ? SHARES_UNSET : (uint8_t)link;
}

static int keep_element(const struct nlattr *attr, void *data)
{
	const struct reading *reading = data;
	struct element element = { .slot = SHARES_SLOTS };

	mnl_attr_parse_nested(attr, read_element, &element);
	if (element.slot < SHARES_SLOTS)
		reading->deal->slot[element.slot] = link_of_chain(reading->config, &element);
	return MNL_CB_OK;
}

static int find_elements(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == NFTA_SET_ELEM_LIST_ELEMENTS)
		mnl_attr_parse_nested(attr, keep_element, data);
	return MNL_CB_OK;
}

static int read_message(const struct nlmsghdr *message, void *data)
{
	return mnl_attr_parse(message, sizeof(struct nfgenmsg), find_elements, data);
}

bool vmap_read(const struct config *config, struct vmap *vmap)
{
	_Alignas(struct nlmsghdr) char buffer[ANSWER_ROOM] = { 0 };
	struct nlmsghdr *message = put_request(buffer, NFT_MSG_GETSETELEM, NLM_F_DUMP, 1, vmap->name);
	struct reading reading = { config, &vmap->deal };
	struct mnl_socket *socket = netlink_open();
	int more = MNL_CB_OK;

	if (!socket)
		return false;
	memset(vmap->deal.slot, SHARES_UNSET, sizeof(vmap->deal.slot));
	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		more = MNL_CB_ERROR;
	while (more > MNL_CB_STOP) {
		ssize_t got = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));

		/* EINTR: the rules changed while they were read */
		more = got < 0 ? MNL_CB_ERROR : mnl_cb_run(buffer, (size_t)got, 1, 0, read_message, &reading);
	}
	int saved = errno;

	mnl_socket_close(socket);
	errno = saved;
	return more == MNL_CB_STOP;
}

/* ---- writing ---- */

static void put_element(struct nlmsghdr *message, const struct config *config, uint32_t slot, uint8_t link)
{
	struct nlattr *element = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
	struct nlattr *key = mnl_attr_nest_start(message, NFTA_SET_ELEM_KEY);
	char chain[32] = "take_main";

	if (link < config->n_links)
		snprintf(chain, sizeof(chain), "take_%u", config->links[link].id);
	mnl_attr_put_u32(message, NFTA_DATA_VALUE, slot);
	mnl_attr_nest_end(message, key);
	struct nlattr *data = mnl_attr_nest_start(message, NFTA_SET_ELEM_DATA);
	struct nlattr *verdict = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);

	mnl_attr_put_u32(message, NFTA_VERDICT_CODE, htonl((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(message, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(message, verdict);
	mnl_attr_nest_end(message, data);
	mnl_attr_nest_end(message, element);
}

/* Empty a map and fill it; returns the bytes used */
static size_t put_map(char *buffer, const struct config *config, const struct vmap *vmap, int flags, uint32_t *sequence)
{
	const size_t flush = put_request(buffer, NFT_MSG_DELSETELEM, 0, ++*sequence, vmap->name)->nlmsg_len;
	struct nlmsghdr *fill =
		put_request(buffer + flush, NFT_MSG_NEWSETELEM, NLM_F_CREATE | flags, ++*sequence, vmap->name);
	struct nlattr *list = mnl_attr_nest_start(fill, NFTA_SET_ELEM_LIST_ELEMENTS);

	for (uint32_t slot = 0; slot < SHARES_SLOTS; slot++)
		put_element(fill, config, slot, vmap->deal.slot[slot]);
	mnl_attr_nest_end(fill, list);
	return flush + fill->nlmsg_len;
}

/* Send a batch whose message `last` is acknowledged; errors of others come before that */
static bool send_batch(const char *batch, size_t len, uint32_t last)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_ROOM];
	struct mnl_socket *socket = netlink_open();
	int room = (int)len + ANSWER_ROOM, result = MNL_CB_ERROR;

	if (!socket)
		return false;
	if (setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0 &&
	    mnl_socket_sendto(socket, batch, len) >= 0) {
		ssize_t got = mnl_socket_recvfrom(socket, answer, sizeof(answer));

		result = got < 0 ? MNL_CB_ERROR : mnl_cb_run(answer, (size_t)got, 0, 0, NULL, NULL);
		if (result == MNL_CB_STOP && ((struct nlmsghdr *)(void *)answer)->nlmsg_seq != last) {
			errno = EPROTO;
			result = MNL_CB_ERROR;
		}
	}
	int saved = errno;

	mnl_socket_close(socket);
	errno = saved;
	return result == MNL_CB_STOP;
}

bool vmap_write(const struct config *config, const struct vmap *vmaps, size_t n)
{
	char *batch = calloc(n + 1, MAP_ROOM);
	uint32_t sequence = 1;

	if (!batch)
		return false;
	size_t len = put_batch(batch, NFNL_MSG_BATCH_BEGIN, sequence);

	for (size_t i = 0; i < n; i++)
		len += put_map(batch + len, config, &vmaps[i], i + 1 == n ? NLM_F_ACK : 0, &sequence);
	len += put_batch(batch + len, NFNL_MSG_BATCH_END, sequence + 1);
	bool done = send_batch(batch, len, sequence);

	free(batch);
	return done;
}
