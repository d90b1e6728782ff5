/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/table.c - dumps and look-ups of the kernel's connections
 *
 * libmnl carries, libnetfilter_conntrack writes what is asked for. A dump advances
 * only when its socket is read: that is the back pressure.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conntrack/entry.h"
#include "conntrack/netlink.h"
#include "conntrack/table.h"

#define DUMP_BUFFER 32768 /* what the kernel fills at once for a reader this large */

struct conntrack_dump {
	struct mnl_socket *socket;
	conntrack_each *each;
	void *data;
	_Alignas(struct nlmsghdr) char buffer[DUMP_BUFFER];
};

/* ---- requests ---- */

static struct nlmsghdr *put_get_request(void *buffer, int family, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

	message->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->nlmsg_seq = (uint32_t)time(NULL);
	struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->nfgen_family = (uint8_t)(family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC);
	header->version = NFNETLINK_V0;
	return message;
}

struct conntrack_dump *conntrack_dump_start(uint32_t value, uint32_t mask, int family)
{
	struct conntrack_dump *dump = calloc(1, sizeof(*dump));

	if (!dump)
		return NULL;
	dump->socket = netlink_open();
	if (!dump->socket) {
		conntrack_dump_free(dump);
		return NULL;
	}
	struct nlmsghdr *message = put_get_request(dump->buffer, family, NLM_F_DUMP);

	if (mask) {
		mnl_attr_put_u32(message, CTA_MARK, htonl(value));
		mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
	}
	if (mnl_socket_sendto(dump->socket, message, message->nlmsg_len) < 0) {
		conntrack_dump_free(dump);
		return NULL;
	}
	return dump;
}

int conntrack_dump_fd(const struct conntrack_dump *dump)
{
	return mnl_socket_get_fd(dump->socket);
}

static int dump_entry(const struct nlmsghdr *message, void *data)
{
	struct conntrack_dump *dump = data;
	struct conntrack_entry entry;

	if (conntrack_decode(message, &entry))
		dump->each(&entry, dump->data);
	return MNL_CB_OK;
}

int conntrack_dump_read(struct conntrack_dump *dump, conntrack_each *each, void *data)
{
	ssize_t got = mnl_socket_recvfrom(dump->socket, dump->buffer, sizeof(dump->buffer));

	if (got < 0)
		return errno == EINTR ? 1 : -1;
	dump->each = each;
	dump->data = data;
	/* portid and sequence 0: this socket carries this one dump and nothing else */
	return mnl_cb_run(dump->buffer, (size_t)got, 0, 0, dump_entry, dump);
}

void conntrack_dump_free(struct conntrack_dump *dump)
{
	int saved = errno;

	if (!dump)
		return;
	if (dump->socket)
		mnl_socket_close(dump->socket);
	free(dump);
	errno = saved;
}

/* ---- one entry ---- */

static void set_tuple(struct nf_conntrack *ct, const struct flow *flow)
{
	nfct_set_attr_u8(ct, ATTR_ORIG_L3PROTO, flow->family == 6 ? AF_INET6 : AF_INET);
	nfct_set_attr_u8(ct, ATTR_ORIG_L4PROTO, flow->protocol);
	if (flow->family == 6) {
		nfct_set_attr(ct, ATTR_ORIG_IPV6_SRC, flow->src.b);
		nfct_set_attr(ct, ATTR_ORIG_IPV6_DST, flow->dst.b);
	} else {
		nfct_set_attr(ct, ATTR_ORIG_IPV4_SRC, flow->src.b + 12);
		nfct_set_attr(ct, ATTR_ORIG_IPV4_DST, flow->dst.b + 12);
	}
	nfct_set_attr_u16(ct, ATTR_ORIG_PORT_SRC, htons(flow->sport));
	nfct_set_attr_u16(ct, ATTR_ORIG_PORT_DST, htons(flow->dport));
}

static int get_entry(const struct nlmsghdr *message, void *data)
{
	conntrack_decode(message, data);
	return MNL_CB_OK;
}

int conntrack_get(const struct flow *flow, struct conntrack_entry *out)
{
	_Alignas(struct nlmsghdr) char buffer[8192] = { 0 };
	struct mnl_socket *socket = netlink_open();
	struct nf_conntrack *ct = nfct_new();
	int result = -1;

	if (!socket || !ct)
		goto done;
	struct nlmsghdr *message = put_get_request(buffer, flow->family, NLM_F_ACK);

	set_tuple(ct, flow);
	if (nfct_nlmsg_build(message, ct) < 0 || mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		goto done;
	result = MNL_CB_OK;
	while (result == MNL_CB_OK) {
		ssize_t got = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));

		result = got < 0 ? -1 : mnl_cb_run(buffer, (size_t)got, 0, 0, get_entry, out);
	}
	if (result < 0)
		result = errno == ENOENT ? 0 : -1;
	else
		result = 1;
done:;
	int saved = errno;

	if (ct)
		nfct_destroy(ct);
	if (socket)
		mnl_socket_close(socket);
	errno = saved;
	return result;
}

const char *conntrack_tcp_state_name(uint8_t state)
{
	static const char *const names[TCP_CONNTRACK_MAX] = {
		[TCP_CONNTRACK_NONE] = "",
		[TCP_CONNTRACK_SYN_SENT] = "SYN_SENT",
		[TCP_CONNTRACK_SYN_RECV] = "SYN_RECV",
		[TCP_CONNTRACK_ESTABLISHED] = "ESTABLISHED",
		[TCP_CONNTRACK_FIN_WAIT] = "FIN_WAIT",
		[TCP_CONNTRACK_CLOSE_WAIT] = "CLOSE_WAIT",
		[TCP_CONNTRACK_LAST_ACK] = "LAST_ACK",
		[TCP_CONNTRACK_TIME_WAIT] = "TIME_WAIT",
		[TCP_CONNTRACK_CLOSE] = "CLOSE",
		[TCP_CONNTRACK_SYN_SENT2] = "SYN_SENT2",
	};

	return state < TCP_CONNTRACK_MAX && names[state] ? names[state] : "";
}
