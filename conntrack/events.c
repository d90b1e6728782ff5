/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/events.c - conntrack's multicast groups
 *
 * Each event is a datagram of its own: they are fetched many at a time.
 */
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack/entry.h"
#include "conntrack/events.h"

/* An event takes about 300 bytes, 1,000 with everything that the kernel can add. No multiple of 4 KiB: the first lines
 * of all messages would compete for the same few places of the cache. */
#define MESSAGE_ROOM 2112

struct conntrack_events {
	struct mnl_socket *socket;
	unsigned n; /* messages that were received */
	struct mmsghdr header[CONNTRACK_EVENTS_BATCH];
	struct iovec room[CONNTRACK_EVENTS_BATCH];
	_Alignas(64) char message[CONNTRACK_EVENTS_BATCH][MESSAGE_ROOM];
};

/* ---- what the kernel may leave out ---- */

/* Where the lower byte of a number of 16 bits is, that is as the machine has it */
#define LOW_BYTE (BYTE_ORDER == LITTLE_ENDIAN ? 0 : 1)
#define HIGH_BYTE (1 - LOW_BYTE)
#define TYPE_AT (offsetof(struct nlmsghdr, nlmsg_type) + LOW_BYTE)
#define FLAGS_AT (offsetof(struct nlmsghdr, nlmsg_flags) + HIGH_BYTE)
#define ATTRIBUTES_AT (NLMSG_HDRLEN + sizeof(struct nfgenmsg))

#define LOAD(value) BPF_STMT(BPF_LD | BPF_IMM, (value))
/* Where the attribute X begins, from A on; inside the attribute that begins at A; 0: nowhere */
#define FIND BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR)
#define FIND_INSIDE BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_NLATTR_NEST)
#define TYPE(type) BPF_STMT(BPF_LDX | BPF_IMM, (type))
#define IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))

/*
 * Entries whose mark is not ours; and of what happens to a connection what says nothing new: it was established when
 * its SYN was answered, and over with its first FIN. Neither is the first event of its kind, since each is heard before
 * its packet leaves and the next can come. (libnetfilter_conntrack's filter knows states, too, but not the kind of an
 * event: it would drop the beginning of a connection that is picked up midway, and ends.)
 */
static bool attach_filter(int fd, uint32_t value, uint32_t mask)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TYPE_AT),
		IF(IPCTNL_MSG_CT_NEW, 0, 16),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_AT),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (NLM_F_CREATE | NLM_F_EXCL) >> 8, 14, 0),
		LOAD(ATTRIBUTES_AT),
		TYPE(CTA_PROTOINFO),
		FIND,
		IF(0, 10, 0),
		TYPE(CTA_PROTOINFO_TCP),
		FIND_INSIDE,
		IF(0, 7, 0),
		TYPE(CTA_PROTOINFO_TCP_STATE),
		FIND_INSIDE,
		IF(0, 4, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_B | BPF_IND, NLA_HDRLEN),
		IF(TCP_CONNTRACK_ESTABLISHED, 9, 0),
		IF(TCP_CONNTRACK_TIME_WAIT, 8, 0),
		/* all others: by their mark */
		LOAD(ATTRIBUTES_AT),
		TYPE(CTA_MARK),
		FIND,
		IF(0, 4, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, NLA_HDRLEN),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
		IF(value, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0;
}

/* ---- the subscription ---- */

static void prepare_room(struct conntrack_events *events)
{
	memset(events, 0, sizeof(*events));
	for (size_t i = 0; i < CONNTRACK_EVENTS_BATCH; i++) {
		events->room[i] = (struct iovec){ events->message[i], MESSAGE_ROOM };
		events->header[i].msg_hdr.msg_iov = &events->room[i];
		events->header[i].msg_hdr.msg_iovlen = 1;
	}
}

struct conntrack_events *conntrack_events_open(uint32_t value, uint32_t mask, int buffer)
{
	const unsigned groups = NF_NETLINK_CONNTRACK_NEW | NF_NETLINK_CONNTRACK_UPDATE | NF_NETLINK_CONNTRACK_DESTROY;
	struct conntrack_events *events = aligned_alloc(64, sizeof(*events));

	if (!events)
		return NULL;
	prepare_room(events);
	events->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!events->socket ||
	    setsockopt(conntrack_events_fd(events), SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0 ||
	    !attach_filter(conntrack_events_fd(events), value, mask) ||
	    mnl_socket_bind(events->socket, groups, MNL_SOCKET_AUTOPID) < 0) {
		conntrack_events_close(events);
		return NULL;
	}
	return events;
}

void conntrack_events_close(struct conntrack_events *events)
{
	int saved = errno;

	if (events && events->socket)
		mnl_socket_close(events->socket);
	free(events);
	errno = saved;
}

int conntrack_events_fd(const struct conntrack_events *events)
{
	return mnl_socket_get_fd(events->socket);
}

static bool event_kind(const struct nlmsghdr *message, enum conntrack_event *out)
{
	switch (message->nlmsg_type) {
	case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW:
		/* one type for both: what creates an entry says so in its flags */
		*out = message->nlmsg_flags & (NLM_F_CREATE | NLM_F_EXCL) ? CONNTRACK_NEW : CONNTRACK_UPDATE;
		return true;
	case NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE:
		*out = CONNTRACK_DESTROY;
		return true;
	default:
		return false;
	}
}

/* The kernel puts one message into each datagram */
static void read_event(const struct nlmsghdr *message, int length, conntrack_each_event *each, void *data)
{
	struct conntrack_entry entry;
	enum conntrack_event kind;

	if (mnl_nlmsg_ok(message, length) && event_kind(message, &kind) && conntrack_decode_event(message, &entry))
		each(kind, &entry, data);
}

int conntrack_events_receive(struct conntrack_events *events)
{
	const int n = recvmmsg(conntrack_events_fd(events), events->header, CONNTRACK_EVENTS_BATCH, MSG_DONTWAIT, NULL);

	events->n = n < 0 ? 0 : (unsigned)n;
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		return -1;
	return (int)events->n;
}

void conntrack_events_each(struct conntrack_events *events, conntrack_each_event *each, void *data)
{
	for (unsigned i = 0; i < events->n; i++)
		read_event((const void *)events->message[i], (int)events->header[i].msg_len, each, data);
	events->n = 0;
}
