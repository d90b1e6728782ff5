/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/bare.c - the ceiling: a loop that accepts what NFQUEUE brings, and does nothing else
 *
 *   bare --queue N --marks M[,M...] [--copy BYTES] [--length N] [--spin MICROSECONDS] [--cpu N]
 *
 * What any balancer over NFQUEUE has to do, done as cheaply as the kernel allows: recvmmsg of up to 64
 * messages, one send with a verdict for each, marks in turn. It reads nothing but packet ids. Fail-open,
 * GSO and the buffers as in nfq-balancer. --spin polls so long before it sleeps. Prints "ready".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bench/live.h"

#define BATCH 64
#define ROOM 1024
#define MAX_MARKS 64
#define BYTES_PER_PACKET 1024

/* A verdict with a mark, as it goes over the wire */
struct verdict {
	struct nlmsghdr header;
	struct nfgenmsg generic;
	struct nlattr verdict_attribute;
	struct nfqnl_msg_verdict_hdr verdict;
	struct nlattr mark_attribute;
	uint32_t mark;
};

struct bare {
	unsigned queue, copy, length, n_marks, next;
	uint32_t marks[MAX_MARKS];
	uint64_t spin_ns;
	struct mnl_socket *socket;
	int fd, cpu;
	struct mmsghdr headers[BATCH];
	struct iovec vectors[BATCH];
	struct verdict verdicts[BATCH];
	_Alignas(struct nlmsghdr) char messages[BATCH][ROOM];
};

static void open_queue(struct bare *bare)
{
	_Alignas(struct nlmsghdr) char buffer[ROOM] = { 0 };
	struct nlmsghdr *message = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, bare->queue);
	int bytes = (int)bare->length * BYTES_PER_PACKET, on = 1;
	ssize_t got;

	bare->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!bare->socket || mnl_socket_bind(bare->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		traffic_die("netlink socket");
	bare->fd = mnl_socket_get_fd(bare->socket);
	if (setsockopt(bare->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0 ||
	    setsockopt(bare->fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on)) < 0)
		traffic_die("netlink socket's buffer");
	message->nlmsg_flags |= NLM_F_ACK;
	message->nlmsg_seq = 1;
	nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(message, bare->copy ? NFQNL_COPY_PACKET : NFQNL_COPY_META, (int)bare->copy);
	nfq_nlmsg_cfg_put_qmaxlen(message, bare->length);
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	if (mnl_socket_sendto(bare->socket, message, message->nlmsg_len) < 0)
		traffic_die("queue");
	got = mnl_socket_recvfrom(bare->socket, bare->messages[0], ROOM);
	if (got < 0 || mnl_cb_run(bare->messages[0], (size_t)got, 1, 0, NULL, NULL) < 0)
		traffic_die("queue");
}

static void prepare(struct bare *bare)
{
	for (unsigned i = 0; i < BATCH; i++) {
		bare->vectors[i] = (struct iovec){ bare->messages[i], ROOM };
		bare->headers[i].msg_hdr = (struct msghdr){ .msg_iov = &bare->vectors[i], .msg_iovlen = 1 };
		bare->verdicts[i] = (struct verdict){
			.header = { .nlmsg_len = sizeof(struct verdict),
				    .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT,
				    .nlmsg_flags = NLM_F_REQUEST },
			.generic = { .nfgen_family = AF_UNSPEC,
				     .version = NFNETLINK_V0,
				     .res_id = htons((uint16_t)bare->queue) },
			.verdict_attribute = { sizeof(struct nlattr) + sizeof(struct nfqnl_msg_verdict_hdr),
					       NFQA_VERDICT_HDR },
			.verdict = { .verdict = htonl(NF_ACCEPT) },
			.mark_attribute = { sizeof(struct nlattr) + sizeof(uint32_t), NFQA_MARK },
		};
	}
}

/* The kernel writes the packet's header first of all attributes: its id, already in network order */
static bool packet_id(const char *bytes, size_t len, uint32_t *id)
{
	const struct nlmsghdr *message = (const void *)bytes;
	const struct nlattr *first = mnl_nlmsg_get_payload_offset(message, sizeof(struct nfgenmsg));

	if (len < sizeof(*message) + sizeof(struct nfgenmsg) + sizeof(*first) + sizeof(struct nfqnl_msg_packet_hdr) ||
	    message->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    mnl_attr_get_type(first) != NFQA_PACKET_HDR)
		return false;
	*id = ((const struct nfqnl_msg_packet_hdr *)mnl_attr_get_payload(first))->packet_id;
	return true;
}

static void answer(struct bare *bare, int got)
{
	unsigned n = 0;

	for (int i = 0; i < got; i++) {
		struct verdict *verdict = &bare->verdicts[n];

		if (!packet_id(bare->messages[i], bare->headers[i].msg_len, &verdict->verdict.id))
			continue;
		verdict->mark = htonl(bare->marks[bare->next]);
		bare->next = bare->next + 1 == bare->n_marks ? 0 : bare->next + 1;
		n++;
	}
	if (n)
		mnl_socket_sendto(bare->socket, bare->verdicts, n * sizeof(struct verdict));
}

static void loop(struct bare *bare)
{
	uint64_t last = 0;

	for (;;) {
		bool wait = !bare->spin_ns || live_now_ns() - last > bare->spin_ns;
		int got = recvmmsg(bare->fd, bare->headers, BATCH, wait ? MSG_WAITFORONE : MSG_DONTWAIT, NULL);

		if (got > 0) {
			answer(bare, got);
			last = bare->spin_ns ? live_now_ns() : 0;
		} else if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
			traffic_die("recvmmsg");
		}
	}
}

static void parse_marks(struct bare *bare, char *text)
{
	for (char *word = strtok(text, ","); word && bare->n_marks < MAX_MARKS; word = strtok(NULL, ","))
		bare->marks[bare->n_marks++] = (uint32_t)strtoul(word, NULL, 0);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{ "queue", required_argument, NULL, 'q' },
		{ "marks", required_argument, NULL, 'm' },
		{ "copy", required_argument, NULL, 'c' },
		{ "length", required_argument, NULL, 'l' },
		{ "spin", required_argument, NULL, 's' },
		{ "cpu", required_argument, NULL, 'C' },
		{ NULL, 0, NULL, 0 },
	};
	static struct bare bare = { .length = 4096, .cpu = -1 };
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		unsigned long number = optarg ? strtoul(optarg, NULL, 0) : 0;

		switch (name) {
		case 'q':
			bare.queue = (unsigned)number;
			break;
		case 'm':
			parse_marks(&bare, optarg);
			break;
		case 'c':
			bare.copy = (unsigned)number;
			break;
		case 'l':
			bare.length = (unsigned)number;
			break;
		case 's':
			bare.spin_ns = (uint64_t)number * 1000;
			break;
		case 'C':
			bare.cpu = (int)number;
			break;
		default:
			return 2;
		}
	}
	if (!bare.n_marks || !bare.length || optind < argc) {
		fprintf(stderr, "usage: bare --queue N --marks M[,M...] [options]\n");
		return 2;
	}
	live_pin(bare.cpu);
	prepare(&bare);
	open_queue(&bare);
	puts("ready");
	fflush(stdout);
	loop(&bare);
}
