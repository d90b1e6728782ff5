/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/traffic-server.c - the far side: answer, and count who came through which link
 *
 *   traffic-server PORTS...         e.g. traffic-server 80 5000-5099
 *
 * Listens for TCP and UDP, IPv4 and IPv6, on every port named. Prints "ready", then
 * obeys one word per line on standard input, answering each with one line:
 *
 *   report    all counts, as one JSON object
 *   flows R   run R flow by flow: [[flow, "first peer", packets, moves], ...]
 *   reset     forget all counts; answers "ok"
 *
 * and ends at end of file. The report:
 *
 *   peers     {"ADDRESS": {"connections", "requests", "datagrams", "bytes"}}
 *   drops     datagrams that this program was too slow for (they did arrive)
 *   runs      {"RUN": {"flows", "packets", "duplicates", "moved", "rebound",
 *             "by_peer": {"ADDRESS": flows}, "by_packets": {"COUNT": flows}}}
 *
 * A flow has moved when packets came from another address than its first one, and
 * was rebound when only the port differed. The format on the wire is in traffic.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/traffic.h"

#define MAX_PEERS 65536u
#define MAX_RUNS 1024
#define BATCH 64
#define UDP_BUFFER (96 << 20)

struct peer {
	struct in6_addr address;
	bool used;
	uint64_t connections, requests, datagrams, bytes;
};

struct flow {
	uint32_t packets; /* distinct, as far as `seen` can tell */
	uint32_t duplicates;
	uint32_t peer; /* slot of the first packet's sender */
	uint16_t port; /* the first packet's */
	uint16_t moves, rebinds;
	uint64_t seen; /* bit s: sequence number s came */
};

struct run {
	uint32_t id;
	struct flow *flows;
	size_t n_flows;
};

enum source_kind {
	SOURCE_STDIN,
	SOURCE_LISTENER,
	SOURCE_UDP,
	SOURCE_CONNECTION
};

struct source {
	enum source_kind kind;
	int fd;
};

struct connection {
	struct source source;
	uint32_t peer; /* slot */
	uint16_t port;
	uint8_t in[TRAFFIC_REQUEST];
	size_t have;
	uint8_t head[TRAFFIC_ANSWER];
	size_t size, sent; /* of the answer being written; size 0: none */
};

static struct peer peers[MAX_PEERS];
static struct run runs[MAX_RUNS];
static size_t n_runs;
static uint64_t drops;
static int epoll_fd;
static const uint8_t zeros[65536];

/* ---- counting ---- */

static uint32_t peer_slot(const struct in6_addr *address)
{
	uint32_t words[4], hash;

	memcpy(words, address, sizeof(words));
	hash = (words[0] * 31 + words[1]) * 31 + (words[2] ^ words[3]) * 0x9e3779b1u;
	for (uint32_t i = 0; i < MAX_PEERS; i++) {
		uint32_t slot = (hash + i) % MAX_PEERS;

		if (!peers[slot].used) {
			peers[slot].used = true;
			peers[slot].address = *address;
		}
		if (!memcmp(&peers[slot].address, address, sizeof(*address)))
			return slot;
	}
	fprintf(stderr, "more than %u peers\n", MAX_PEERS);
	exit(1);
}

static struct run *run_get(uint32_t id)
{
	for (size_t i = 0; i < n_runs; i++)
		if (runs[i].id == id)
			return &runs[i];
	if (n_runs == MAX_RUNS) {
		fprintf(stderr, "more than %d runs\n", MAX_RUNS);
		exit(1);
	}
	runs[n_runs] = (struct run){ .id = id };
	return &runs[n_runs++];
}

static struct flow *flow_get(uint32_t run_id, uint32_t id)
{
	static size_t last;
	struct run *run = last < n_runs && runs[last].id == run_id ? &runs[last] : run_get(run_id);

	last = (size_t)(run - runs);
	if (id >= run->n_flows) {
		size_t n = run->n_flows ? run->n_flows : 1024;

		while (n <= id)
			n *= 2;
		run->flows = traffic_realloc(run->flows, n * sizeof(*run->flows));
		memset(run->flows + run->n_flows, 0, (n - run->n_flows) * sizeof(*run->flows));
		run->n_flows = n;
	}
	return &run->flows[id];
}

static void count_request(const struct traffic_request *request, uint32_t peer, uint16_t port)
{
	struct flow *flow = flow_get(request->run, request->flow);
	uint64_t bit = request->seq < 64 ? UINT64_C(1) << request->seq : 0;

	if (flow->seen & bit) {
		flow->duplicates++;
		return;
	}
	if (!flow->packets) {
		flow->peer = peer;
		flow->port = port;
	}
	flow->seen |= bit;
	flow->packets++;
	if (flow->peer != peer)
		flow->moves++;
	else if (flow->port != port)
		flow->rebinds++;
}

static void write_answer(uint8_t *to, const uint8_t *request, uint32_t peer, uint16_t port)
{
	const struct in6_addr *address = &peers[peer].address;
	uint16_t words[2] = { htons(IN6_IS_ADDR_V4MAPPED(address) ? 4 : 6), htons(port) };

	memcpy(to, request, TRAFFIC_REQUEST);
	memcpy(to + TRAFFIC_REQUEST, words, sizeof(words));
	memcpy(to + TRAFFIC_REQUEST + sizeof(words), address, sizeof(*address));
}

/* ---- reports ---- */

static void report_run(const struct run *run)
{
	enum {
		MOST = 4096
	}; /* packets per flow told apart */
	static uint64_t by_peer[MAX_PEERS], by_packets[MOST + 1];
	uint64_t flows = 0, packets = 0, duplicates = 0, moved = 0, rebound = 0;
	char text[INET6_ADDRSTRLEN];
	const char *comma = "";

	memset(by_peer, 0, sizeof(by_peer));
	memset(by_packets, 0, sizeof(by_packets));
	for (size_t i = 0; i < run->n_flows; i++) {
		const struct flow *flow = &run->flows[i];

		if (!flow->packets)
			continue;
		flows++;
		packets += flow->packets;
		duplicates += flow->duplicates;
		moved += flow->moves > 0;
		rebound += flow->rebinds > 0;
		by_peer[flow->peer]++;
		by_packets[flow->packets < MOST ? flow->packets : MOST]++;
	}
	printf("{\"flows\":%lu,\"packets\":%lu,\"duplicates\":%lu,\"moved\":%lu,\"rebound\":%lu,\"by_peer\":{", flows,
	       packets, duplicates, moved, rebound);
	for (size_t i = 0; i < MAX_PEERS; i++)
		if (by_peer[i]) {
			printf("%s\"%s\":%lu", comma, traffic_address(&peers[i].address, text), by_peer[i]);
			comma = ",";
		}
	printf("},\"by_packets\":{");
	comma = "";
	for (size_t i = 0; i <= MOST; i++)
		if (by_packets[i]) {
			printf("%s\"%zu\":%lu", comma, i, by_packets[i]);
			comma = ",";
		}
	printf("}}");
}

static void report_all(void)
{
	char text[INET6_ADDRSTRLEN];
	const char *comma = "";

	printf("{\"drops\":%lu,\"peers\":{", drops);
	for (size_t i = 0; i < MAX_PEERS; i++) {
		const struct peer *peer = &peers[i];

		if (!peer->connections && !peer->datagrams)
			continue;
		printf("%s\"%s\":{\"connections\":%lu,\"requests\":%lu,\"datagrams\":%lu,\"bytes\":%lu}", comma,
		       traffic_address(&peer->address, text), peer->connections, peer->requests, peer->datagrams,
		       peer->bytes);
		comma = ",";
	}
	printf("},\"runs\":{");
	for (size_t i = 0; i < n_runs; i++) {
		printf("%s\"%u\":", i ? "," : "", runs[i].id);
		report_run(&runs[i]);
	}
	printf("}}\n");
}

static void report_flows(uint32_t id)
{
	const struct run *run = run_get(id);
	char text[INET6_ADDRSTRLEN];
	const char *comma = "";

	putchar('[');
	for (size_t i = 0; i < run->n_flows; i++) {
		const struct flow *flow = &run->flows[i];

		if (!flow->packets)
			continue;
		printf("%s[%zu,\"%s\",%u,%u]", comma, i, traffic_address(&peers[flow->peer].address, text),
		       flow->packets, flow->moves);
		comma = ",";
	}
	printf("]\n");
}

/* Peers keep their slots: open connections refer to them */
static void reset(void)
{
	for (size_t i = 0; i < n_runs; i++) {
		free(runs[i].flows);
		runs[i] = (struct run){ 0 };
	}
	n_runs = 0;
	drops = 0;
	for (size_t i = 0; i < MAX_PEERS; i++)
		peers[i].connections = peers[i].requests = peers[i].datagrams = peers[i].bytes = 0;
}

static void obey(void)
{
	char line[128];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	if (!strcmp(line, "report\n")) {
		report_all();
	} else if (!strncmp(line, "flows ", 6)) {
		report_flows((uint32_t)strtoul(line + 6, NULL, 10));
	} else if (!strcmp(line, "reset\n")) {
		reset();
		printf("ok\n");
	} else {
		printf("error: expected report, flows RUN or reset\n");
	}
	fflush(stdout);
}

/* ---- sockets ---- */

static void watch(struct source *source, uint32_t events, int how)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (epoll_ctl(epoll_fd, how, source->fd, &event) < 0)
		traffic_die("epoll_ctl");
}

static void listen_on(unsigned port, int type)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0, size = UDP_BUFFER;
	struct source *source = traffic_realloc(NULL, sizeof(*source));

	if (fd < 0)
		traffic_die("socket");
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (type == SOCK_DGRAM) {
		/* answers must leave from the address that was asked */
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	}
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    (type == SOCK_STREAM && listen(fd, 4096) < 0)) {
		fprintf(stderr, "port %u: ", port);
		traffic_die("listen");
	}
	*source = (struct source){ type == SOCK_STREAM ? SOURCE_LISTENER : SOURCE_UDP, fd };
	watch(source, EPOLLIN, EPOLL_CTL_ADD);
} /* epoll keeps it: NOLINT(clang-analyzer-unix.Malloc) */

static void accept_all(const struct source *listener)
{
	for (;;) {
		/* epoll keeps the connections: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		struct sockaddr_in6 address = { .sin6_family = AF_INET6 };
		socklen_t size = sizeof(address);
		int fd = accept4(listener->fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct connection *connection;

		if (fd < 0)
			return;
		connection = calloc(1, sizeof(*connection));
		if (!connection)
			traffic_die("calloc");
		connection->source = (struct source){ SOURCE_CONNECTION, fd };
		connection->peer = peer_slot(&address.sin6_addr);
		connection->port = ntohs(address.sin6_port);
		peers[connection->peer].connections++;
		watch(&connection->source, EPOLLIN, EPOLL_CTL_ADD);
	}
}

/* Write what is left of the answer. False: the connection is gone. */
static bool connection_write(struct connection *connection)
{
	while (connection->sent < connection->size) {
		const uint8_t *from = zeros;
		size_t n = connection->size - connection->sent;
		ssize_t done;

		if (connection->sent < TRAFFIC_ANSWER) {
			from = connection->head + connection->sent;
			n = TRAFFIC_ANSWER - connection->sent;
		} else if (n > sizeof(zeros)) {
			n = sizeof(zeros);
		}
		done = send(connection->source.fd, from, n,
			    MSG_NOSIGNAL | (connection->sent + n < connection->size ? MSG_MORE : 0));
		if (done < 0 && errno == EAGAIN) {
			watch(&connection->source, EPOLLOUT, EPOLL_CTL_MOD);
			return true;
		}
		if (done <= 0)
			return false;
		connection->sent += (size_t)done;
	}
	connection->size = connection->sent = 0;
	return true;
}

static bool connection_request(struct connection *connection)
{
	struct traffic_request request;

	connection->have = 0;
	if (!traffic_read_request(connection->in, &request))
		return false;
	count_request(&request, connection->peer, connection->port);
	peers[connection->peer].requests++;
	peers[connection->peer].bytes += TRAFFIC_REQUEST;
	if (request.flags & TRAFFIC_NO_ANSWER)
		return true;
	write_answer(connection->head, connection->in, connection->peer, connection->port);
	connection->size = request.want > TRAFFIC_ANSWER ? request.want : TRAFFIC_ANSWER;
	peers[connection->peer].bytes += connection->size;
	return connection_write(connection);
}

/* False: the connection is gone */
static bool connection_serve(struct connection *connection)
{
	if (connection->size) {
		if (!connection_write(connection))
			return false;
		if (connection->size)
			return true;
		watch(&connection->source, EPOLLIN, EPOLL_CTL_MOD);
	}
	while (!connection->size) {
		ssize_t n = recv(connection->source.fd, connection->in + connection->have,
				 TRAFFIC_REQUEST - connection->have, 0);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		connection->have += (size_t)n;
		if (connection->have == TRAFFIC_REQUEST && !connection_request(connection))
			return false;
	}
	return true;
}

static void connection_close(struct connection *connection)
{
	close(connection->source.fd);
	free(connection);
}

/* ---- UDP ---- */

struct udp_batch {
	struct mmsghdr messages[BATCH];
	struct iovec in[BATCH];
	struct sockaddr_in6 from[BATCH];
	uint8_t data[BATCH][TRAFFIC_MAX_DATAGRAM];
	uint8_t control[BATCH][128];
};

/* What goes back: the same destination address as source, nothing else */
static void udp_answer(int fd, struct msghdr *message, const struct traffic_request *request, uint8_t *data,
		       uint32_t peer, uint16_t port)
{
	uint8_t answer[TRAFFIC_MAX_DATAGRAM] = { 0 };
	size_t size = request->want < TRAFFIC_ANSWER ? TRAFFIC_ANSWER : request->want;
	struct iovec out = { answer, size < sizeof(answer) ? size : sizeof(answer) };
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct msghdr reply = { message->msg_name, message->msg_namelen, &out, 1, NULL, 0, 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		struct in6_pktinfo info;
		struct cmsghdr *to = (struct cmsghdr *)control;

		if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi6_ifindex = 0; /* routing decides the way back */
		to->cmsg_level = IPPROTO_IPV6;
		to->cmsg_type = IPV6_PKTINFO;
		to->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(to), &info, sizeof(info));
		reply.msg_control = control;
		reply.msg_controllen = sizeof(control);
	}
	write_answer(answer, data, peer, port);
	peers[peer].bytes += out.iov_len;
	sendmsg(fd, &reply, MSG_DONTWAIT);
}

/* SO_RXQ_OVFL counts since the socket was made: add what is new */
static void udp_overflows(struct msghdr *message, uint32_t *last)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		uint32_t now;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL)
			continue;
		memcpy(&now, CMSG_DATA(c), sizeof(now));
		drops += now - *last;
		*last = now;
	}
}

static void udp_message(int fd, struct udp_batch *batch, unsigned i)
{
	static uint32_t last_overflow[1 << 16]; /* by descriptor */
	struct msghdr *message = &batch->messages[i].msg_hdr;
	struct traffic_request request;
	uint32_t peer;
	uint16_t port = ntohs(batch->from[i].sin6_port);

	udp_overflows(message, &last_overflow[fd & 0xffff]);
	if (batch->messages[i].msg_len < TRAFFIC_REQUEST || !traffic_read_request(batch->data[i], &request))
		return;
	peer = peer_slot(&batch->from[i].sin6_addr);
	count_request(&request, peer, port);
	peers[peer].datagrams++;
	peers[peer].bytes += batch->messages[i].msg_len;
	if (!(request.flags & TRAFFIC_NO_ANSWER))
		udp_answer(fd, message, &request, batch->data[i], peer, port);
}

static void udp_serve(int fd)
{
	static struct udp_batch batch;

	for (int turn = 0; turn < 32; turn++) {
		int n;

		for (unsigned i = 0; i < BATCH; i++) {
			batch.in[i] = (struct iovec){ batch.data[i], sizeof(batch.data[i]) };
			batch.messages[i].msg_hdr = (struct msghdr){ &batch.from[i],
								     sizeof(batch.from[i]),
								     &batch.in[i],
								     1,
								     batch.control[i],
								     sizeof(batch.control[i]),
								     0 };
		}
		n = recvmmsg(fd, batch.messages, BATCH, MSG_DONTWAIT, NULL);
		if (n <= 0)
			return;
		for (int i = 0; i < n; i++)
			udp_message(fd, &batch, (unsigned)i);
	}
}

int main(int argc, char **argv)
{
	struct source commands = { SOURCE_STDIN, STDIN_FILENO };

	if (argc < 2) {
		fprintf(stderr, "usage: traffic-server PORTS...\n");
		return 2;
	}
	traffic_raise_files();
	setvbuf(stdin, NULL, _IONBF, 0); /* epoll must see every line */
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 1; i < argc; i++) {
		unsigned first, last;

		traffic_parse_ports(argv[i], &first, &last);
		for (unsigned port = first; port <= last; port++) {
			listen_on(port, SOCK_STREAM);
			listen_on(port, SOCK_DGRAM);
		}
	}
	watch(&commands, EPOLLIN, EPOLL_CTL_ADD);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct source *source = events[i].data.ptr;

			if (source->kind == SOURCE_STDIN)
				obey();
			else if (source->kind == SOURCE_LISTENER)
				accept_all(source);
			else if (source->kind == SOURCE_UDP)
				udp_serve(source->fd);
			else if (!connection_serve((struct connection *)source))
				connection_close((struct connection *)source);
		}
	}
}
