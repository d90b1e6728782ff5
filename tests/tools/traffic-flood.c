/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/traffic-flood.c - as many new UDP flows as the machine can send
 *
 *   traffic-flood --to ADDRESS[,ADDRESS...] [--port P[-Q]] [--from ADDRESS] [--source-port P] [--flows N]
 *                 [--rate R] [--run R]
 *
 * One packet per flow, no answers: each flow is its own pair of source port and
 * destination. A source port serves all destinations (addresses x ports) before the
 * next is opened, in one sendmmsg() per batch. Prints one line of JSON:
 * {"sent": N, "seconds": S, "next_source_port": P}; a run that begins there (--source-port)
 * sends no flow a second time. Who received what is in the server's report; the format
 * on the wire is in traffic.h.
 */
#include <errno.h>
#include <getopt.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/traffic.h"

#define BATCH 64
#define FIRST_SOURCE 10000
#define LAST_SOURCE 65535

struct flood {
	struct sockaddr_storage to[TRAFFIC_MAX_ADDRESSES], from[TRAFFIC_MAX_ADDRESSES];
	unsigned n_to, port, last_port;
	unsigned source_port; /* of the next socket */
	uint32_t flows, run;
	double rate;
	uint64_t start;
};

static socklen_t address_size(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* Wait until the rate allows flow number `flow` */
static void pace(const struct flood *flood, uint32_t flow)
{
	uint64_t due, now = traffic_now_us();

	if (flood->rate <= 0)
		return;
	due = flood->start + (uint64_t)(flow / flood->rate * 1e6);
	if (due > now)
		usleep((useconds_t)(due - now));
}

/* A socket with the next source port that is free */
static int open_socket(struct flood *flood)
{
	int fd = socket(flood->to[0].ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int size = 4 << 20;
	struct sockaddr_storage from = flood->from[0];

	from.ss_family = flood->to[0].ss_family;
	if (fd < 0)
		traffic_die("socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	for (unsigned tries = 0; tries <= LAST_SOURCE - FIRST_SOURCE; tries++) {
		((struct sockaddr_in *)&from)->sin_port = htons((uint16_t)flood->source_port);
		flood->source_port = flood->source_port < LAST_SOURCE ? flood->source_port + 1 : FIRST_SOURCE;
		if (bind(fd, (struct sockaddr *)&from, address_size(&from)) == 0)
			return fd;
		if (errno != EADDRINUSE)
			break;
	}
	traffic_die("bind");
}

/* Send flows first..last-1 from one socket; flow f goes to destination f modulo their number */
static void send_batch(const struct flood *flood, int fd, uint32_t first, uint32_t last)
{
	struct mmsghdr messages[BATCH] = { 0 };
	struct sockaddr_storage to[BATCH];
	struct iovec iovecs[BATCH];
	uint8_t data[BATCH][TRAFFIC_REQUEST];
	unsigned ports = flood->last_port - flood->port + 1, done = 0;

	for (unsigned i = 0; i < last - first; i++) {
		struct traffic_request request = { flood->run, first + i, 0, 0, TRAFFIC_NO_ANSWER };
		unsigned destination = (first + i) % (flood->n_to * ports);

		to[i] = flood->to[destination / ports];
		((struct sockaddr_in *)&to[i])->sin_port = htons((uint16_t)(flood->port + destination % ports));
		traffic_write_request(data[i], &request);
		iovecs[i] = (struct iovec){ data[i], TRAFFIC_REQUEST };
		messages[i].msg_hdr = (struct msghdr){ &to[i], address_size(&to[i]), &iovecs[i], 1, NULL, 0, 0 };
	}
	while (done < last - first) {
		int n = sendmmsg(fd, messages + done, last - first - done, 0);

		if (n < 0 && errno != ENOBUFS && errno != EINTR)
			traffic_die("sendmmsg");
		done += n > 0 ? (unsigned)n : 0;
	}
}

static void run(struct flood *flood)
{
	uint32_t destinations = flood->n_to * (flood->last_port - flood->port + 1), flow = 0;

	while (flow < flood->flows) {
		int fd = open_socket(flood);
		uint32_t end = flow + destinations < flood->flows ? flow + destinations : flood->flows;

		while (flow < end) {
			uint32_t last = flow + BATCH < end ? flow + BATCH : end;

			pace(flood, flow);
			send_batch(flood, fd, flow, last);
			flow = last;
		}
		/* stays open until the end: the next socket must get another port */
	}
}

int main(int argc, char **argv)
{
	/* clang-format off */
	static const struct option names[] = {
		{ "to", required_argument, NULL, 't' },
		{ "port", required_argument, NULL, 'p' },
		{ "from", required_argument, NULL, 'f' },
		{ "flows", required_argument, NULL, 'n' },
		{ "source-port", required_argument, NULL, 's' },
		{ "rate", required_argument, NULL, 'r' },
		{ "run", required_argument, NULL, 'R' },
		{ NULL, 0, NULL, 0 },
	};
	/* clang-format on */
	struct flood flood = { .port = 80, .last_port = 80, .source_port = FIRST_SOURCE, .flows = 1, .run = 1 };
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (name) {
		case 't':
			flood.n_to = traffic_parse_addresses(optarg, flood.to);
			break;
		case 'p':
			traffic_parse_ports(optarg, &flood.port, &flood.last_port);
			break;
		case 'f':
			traffic_parse_addresses(optarg, flood.from);
			break;
		case 'n':
			flood.flows = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		case 's':
			flood.source_port = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			flood.rate = strtod(optarg, NULL);
			break;
		case 'R':
			flood.run = (uint32_t)strtoul(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	if (!flood.n_to || optind < argc) {
		fprintf(stderr, "usage: traffic-flood --to ADDRESS[,ADDRESS...] [options]\n");
		return 2;
	}
	traffic_raise_files();
	flood.start = traffic_now_us();
	run(&flood);
	printf("{\"sent\":%u,\"seconds\":%.3f,\"next_source_port\":%u}\n", flood.flows,
	       (double)(traffic_now_us() - flood.start) / 1e6, flood.source_port);
	return 0;
}
