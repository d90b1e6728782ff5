/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/queue.c - NFQUEUE over libmnl and libnetfilter_queue
 *
 * What the kernel makes easy to get wrong, and how it is done here:
 * - a queue that is bound but not configured drops silently: bind, parameters,
 *   length, flags and mask go in one acknowledged message;
 * - a message takes 832 bytes of receive buffer, not its own size: the buffer is
 *   forced to 1 KiB per packet of the queue;
 * - after an overrun a socket without NETLINK_NO_ENOBUFS refuses everything until
 *   the queue is empty; what is lost then stands in user_dropped and is exported;
 * - F_GSO always: without it merged first packets are segmented or lost.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack/netlink.h"
#include "nfq-balancer/queue.h"

/* Attributes take about 200 bytes beside the QUEUE_COPY of the packet. An odd number of cache
 * lines: the messages of a batch spread over all sets of the cache. */
#define MESSAGE_ROOM (13 * 64)
#define BYTES_PER_PACKET 1024
#define DRY_SEQUENCE 0x647279 /* names the acknowledgement that queue_run_dry() asked for */

/* A verdict as it is sent. Every one is the queue's own template with its id and mark put in,
 * so that none is built attribute by attribute. */
struct verdict {
	struct nlmsghdr message;
	struct nfgenmsg queue;
	struct nlattr header_attr; /* NFQA_VERDICT_HDR */
	struct nfqnl_msg_verdict_hdr header;
	struct nlattr mark_attr; /* NFQA_MARK; left out where the mark stays */
	uint32_t mark;
};

#define VERDICT_MAX (sizeof(struct verdict) + CONNTRACK_MARK_ATTR_MAX)

static_assert(sizeof(struct verdict) == 40 && offsetof(struct verdict, mark_attr) == 32, "no padding");

struct queue {
	struct mnl_socket *socket;
	int fd;
	unsigned number;
	bool dry;
	uint64_t errors;
	struct verdict verdict; /* the template */
	size_t pending; /* bytes in `verdicts` */
	_Alignas(64) char verdicts[QUEUE_BATCH * VERDICT_MAX];
	_Alignas(64) char messages[QUEUE_BATCH][MESSAGE_ROOM];
	/* what a batch needs, and a single message does not */
	struct mmsghdr headers[QUEUE_BATCH];
	struct iovec vectors[QUEUE_BATCH];
};

/* ---- configuration ---- */

static struct nlmsghdr *put_config(char *buffer, unsigned number, uint32_t sequence)
{
	struct nlmsghdr *message = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, number);

	message->nlmsg_flags |= NLM_F_ACK;
	message->nlmsg_seq = sequence;
	return message;
}

static void put_flags(struct nlmsghdr *message, uint32_t flags, uint32_t mask)
{
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(mask));
}

/* Send `message` and wait for its acknowledgement: 0, or -1 with errno */
static int talk(struct mnl_socket *socket, const struct nlmsghdr *message)
{
	_Alignas(struct nlmsghdr) char answer[MESSAGE_ROOM];
	int result = MNL_CB_OK;

	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return -1;
	while (result == MNL_CB_OK) {
		ssize_t got = mnl_socket_recvfrom(socket, answer, sizeof(answer));

		if (got < 0)
			return -1;
		result = mnl_cb_run(answer, (size_t)got, message->nlmsg_seq, 0, NULL, NULL);
	}
	return result == MNL_CB_STOP ? 0 : -1;
}

int queue_probe_conntrack(unsigned number)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_ROOM] = { 0 };
	struct mnl_socket *socket = netlink_open();
	int answer = -1;

	if (!socket)
		return -1;
	/* the kernel checks whether it knows the flag before it looks for the queue, which does not exist */
	struct nlmsghdr *message = put_config(buffer, number, 1);

	put_flags(message, NFQA_CFG_F_CONNTRACK, NFQA_CFG_F_CONNTRACK);
	if (talk(socket, message) == 0 || errno == ENODEV || errno == EPERM)
		answer = 1; /* EPERM: it exists and is somebody else's, which queue_open() will say better */
	else if (errno == EOPNOTSUPP)
		answer = 0;
	int saved = errno;

	mnl_socket_close(socket);
	errno = saved;
	return answer;
}

static bool bind_queue(struct queue *queue, unsigned length, bool fail_open)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_ROOM] = { 0 };
	struct nlmsghdr *message = put_config(buffer, queue->number, 1);
	uint32_t known = NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_GSO | NFQA_CFG_F_CONNTRACK | NFQA_CFG_F_UID_GID;

	nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, QUEUE_COPY);
	nfq_nlmsg_cfg_put_qmaxlen(message, length);
	put_flags(message, NFQA_CFG_F_GSO | (fail_open ? NFQA_CFG_F_FAIL_OPEN : 0u), known);
	return talk(queue->socket, message) == 0;
}

static bool size_socket(struct queue *queue, unsigned length)
{
	int bytes = (int)(length < 1024 ? 1024 : length) * BYTES_PER_PACKET, on = 1;

	return setsockopt(queue->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0 &&
	       setsockopt(queue->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on)) == 0;
}

static struct verdict verdict_template(unsigned number)
{
	return (struct verdict){
		.message = { .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT, .nlmsg_flags = NLM_F_REQUEST },
		.queue = { .version = NFNETLINK_V0, .res_id = htons((uint16_t)number) },
		.header_attr = { .nla_len = NLA_HDRLEN + sizeof(struct nfqnl_msg_verdict_hdr),
				 .nla_type = NFQA_VERDICT_HDR },
		.header = { .verdict = htonl(NF_ACCEPT) },
		.mark_attr = { .nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = NFQA_MARK },
	};
}

static void point_vectors(struct queue *queue)
{
	for (unsigned i = 0; i < QUEUE_BATCH; i++) {
		queue->vectors[i] = (struct iovec){ queue->messages[i], MESSAGE_ROOM };
		queue->headers[i].msg_hdr = (struct msghdr){ .msg_iov = &queue->vectors[i], .msg_iovlen = 1 };
	}
}

/* Port id of whoever holds the queue, usually its process id; 0: unknown */
static unsigned holder(unsigned number)
{
	FILE *file = fopen("/proc/net/netfilter/nfnetlink_queue", "re");
	unsigned listed, portid, found = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%u %u", &listed, &portid) == 2 && listed == number)
			found = portid;
	}
	if (file)
		fclose(file);
	return found;
}

static void explain_bind(unsigned number, int why, char *error, size_t size)
{
	if (why == EPERM || why == EBUSY)
		snprintf(
			error, size,
			"queue %u is held by another program (netlink port %u, usually its process id): end it, or choose "
			"other numbers with queue = in the configuration",
			number, holder(number));
	else if (why == EINVAL || why == EOPNOTSUPP || why == EPROTONOSUPPORT)
		snprintf(error, size, "queue %u: this kernel has no nfnetlink_queue (CONFIG_NETFILTER_NETLINK_QUEUE)",
			 number);
	else
		snprintf(error, size, "queue %u: %s", number, strerror(why));
}

struct queue *queue_open(unsigned number, unsigned length, bool fail_open, char *error, size_t size)
{
	struct queue *queue = aligned_alloc(64, (sizeof(*queue) + 63) / 64 * 64);

	if (!queue) {
		snprintf(error, size, "queue %u: out of memory", number);
		return NULL;
	}
	memset(queue, 0, sizeof(*queue));
	queue->number = number;
	queue->verdict = verdict_template(number);
	point_vectors(queue);
	queue->socket = netlink_open();
	if (queue->socket)
		queue->fd = mnl_socket_get_fd(queue->socket);
	if (!queue->socket || !size_socket(queue, length) || !bind_queue(queue, length, fail_open)) {
		explain_bind(number, errno, error, size);
		queue_close(queue);
		return NULL;
	}
	return queue;
}

void queue_close(struct queue *queue)
{
	if (!queue)
		return;
	if (queue->socket)
		mnl_socket_close(queue->socket);
	free(queue);
}

unsigned queue_number(const struct queue *queue)
{
	return queue->number;
}

uint64_t queue_errors(const struct queue *queue)
{
	return queue->errors;
}

/* ---- packets in ---- */

static void read_attribute(const struct nlattr *attr, struct queue_packet *packet)
{
	const void *payload = (const char *)attr + NLA_HDRLEN;
	const struct nfqnl_msg_packet_hdr *header = payload;
	const uint32_t *number = payload;

	switch (attr->nla_type & NLA_TYPE_MASK) {
	case NFQA_PACKET_HDR:
		packet->id = ntohl(header->packet_id);
		packet->local = header->hook == NF_INET_LOCAL_OUT;
		break;
	case NFQA_MARK:
		packet->mark = ntohl(*number);
		break;
	case NFQA_IFINDEX_INDEV:
		packet->ifindex = ntohl(*number);
		break;
	case NFQA_PAYLOAD:
		packet->bytes = payload;
		packet->len = (size_t)attr->nla_len - NLA_HDRLEN;
		break;
	default:
		break;
	}
}

/* The library has this loop too, at forty calls per packet */
static void read_attributes(const struct nlmsghdr *message, struct queue_packet *packet)
{
	const char *at = (const char *)message + NLMSG_LENGTH(sizeof(struct nfgenmsg));
	const char *end = (const char *)message + message->nlmsg_len;

	while (end - at >= NLA_HDRLEN) {
		const struct nlattr *attr = (const void *)at;

		if (attr->nla_len < NLA_HDRLEN || attr->nla_len > end - at)
			return;
		read_attribute(attr, packet);
		at += NLA_ALIGN(attr->nla_len);
	}
}

static void read_answer(struct queue *queue, const struct nlmsghdr *message)
{
	const struct nlmsgerr *answer = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_len < mnl_nlmsg_size(sizeof(*answer)))
		return;
	if (answer->msg.nlmsg_seq == DRY_SEQUENCE)
		queue->dry = true;
	else if (answer->error)
		queue->errors++; /* e.g. ENOENT: the packet's queue was flushed meanwhile */
}

/* A message of the kernel: true and `out` filled when it is a packet */
static bool read_message(struct queue *queue, const char *bytes, size_t len, struct queue_packet *out)
{
	const struct nlmsghdr *message = (const void *)bytes;

	if (!mnl_nlmsg_ok(message, (int)len))
		return false;
	if (message->nlmsg_type == NLMSG_ERROR) {
		read_answer(queue, message);
		return false;
	}
	if (message->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
		return false;
	*out = (struct queue_packet){ 0 };
	read_attributes(message, out);
	return true;
}

/* Nothing was received: 0, or -1 when nothing will ever be */
static int received_nothing(bool *empty)
{
	*empty = errno == EAGAIN || errno == EWOULDBLOCK;
	/* ENOBUFS cannot come (NETLINK_NO_ENOBUFS), but would be no reason to stop either */
	return *empty || errno == EINTR || errno == ENOBUFS ? 0 : -1;
}

static int receive_one(struct queue *queue, struct queue_packet *out, bool *empty)
{
	ssize_t got = recv(queue->fd, queue->messages[0], MESSAGE_ROOM, 0);

	if (got < 0)
		return received_nothing(empty);
	*empty = false;
	return read_message(queue, queue->messages[0], (size_t)got, out);
}

int queue_receive(struct queue *queue, struct queue_packet out[QUEUE_BATCH], enum queue_look look, bool *empty)
{
	int packets = 0, got;

	if (look == QUEUE_WAIT_ONE)
		return receive_one(queue, out, empty);
	got = recvmmsg(queue->fd, queue->headers, QUEUE_BATCH, look == QUEUE_WAIT ? MSG_WAITFORONE : MSG_DONTWAIT,
		       NULL);
	if (got < 0)
		return received_nothing(empty);
	*empty = false;
	for (int i = 0; i < got; i++) {
		if (read_message(queue, queue->messages[i], queue->headers[i].msg_len, &out[packets]))
			packets++;
	}
	return packets;
}

/* ---- verdicts out ---- */

void queue_accept(struct queue *queue, uint32_t id, bool set_mark, uint32_t mark, const struct conntrack_mark_attr *ct)
{
	struct verdict *verdict = (void *)(queue->verdicts + queue->pending);
	size_t len = set_mark ? sizeof(*verdict) : offsetof(struct verdict, mark_attr);

	*verdict = queue->verdict;
	verdict->header.id = htonl(id);
	verdict->mark = htonl(mark);
	if (ct) {
		memcpy((char *)verdict + len, ct->bytes, sizeof(ct->bytes));
		len += NLA_ALIGN(ct->len);
	}
	verdict->message.nlmsg_len = (uint32_t)len;
	queue->pending += len;
}

void queue_flush(struct queue *queue)
{
	size_t pending = queue->pending;
	ssize_t sent;

	queue->pending = 0;
	if (!pending)
		return;
	do
		sent = send(queue->fd, queue->verdicts, pending, 0); /* to the kernel: a netlink socket's default */
	while (sent < 0 && errno == EINTR);
	if (sent != (ssize_t)pending)
		queue->errors++;
}

/* ---- while it runs: the worker reads the answers ---- */

bool queue_set_fail_open(const struct queue *queue, bool fail_open)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_ROOM] = { 0 };
	struct nlmsghdr *message = put_config(buffer, queue->number, 1);

	put_flags(message, fail_open ? NFQA_CFG_F_FAIL_OPEN : 0u, NFQA_CFG_F_FAIL_OPEN);
	return mnl_socket_sendto(queue->socket, message, message->nlmsg_len) >= 0;
}

bool queue_run_dry(struct queue *queue)
{
	_Alignas(struct nlmsghdr) char buffer[MESSAGE_ROOM] = { 0 };
	struct nlmsghdr *message = put_config(buffer, queue->number, DRY_SEQUENCE);

	nfq_nlmsg_cfg_put_qmaxlen(message, 0);
	return mnl_socket_sendto(queue->socket, message, message->nlmsg_len) >= 0;
}

bool queue_dry(const struct queue *queue)
{
	return queue->dry;
}
