/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/traffic-download.c - TCP downloads of given sizes at given times, and how long each took
 *
 *   traffic-download serve PORT
 *   traffic-download fetch --to A[,A...] [options] < LIST
 *
 *   --to A[,A...]    the servers' addresses (IPv4), used in turn
 *   --port P         the servers' port (default 80)
 *   --from A[,A...]  source addresses, used in turn; default: the kernel's choice
 *   --from-port P[-Q] source ports, used in turn. The kernel's own choice starts anew every ten seconds, and then
 *                    meets ports used just before: the same flow again, for whoever looks at addresses and ports
 *   --timeout S      patience for one download (default 60)
 *
 * LIST has one download per line: DUE, microseconds after the start, ascending, and
 * BYTES, at least 16. A connection is opened when it is due, whatever became of the
 * earlier ones. The server closes first, right after the last byte, as a web server
 * does that was asked for one page. "serve" prints "ready" and ends at end of file of
 * its standard input; "fetch" prints, in the order of LIST, one line per download:
 *
 *   LATE TOOK PEER RESULT
 *
 * LATE: microseconds from DUE to connect(); TOOK: from connect() to the server's FIN;
 * PEER: the client's address as the server saw it, or "-"; RESULT: "ok" or why not.
 *
 * On the wire: the client sends BYTES (32 bits, network byte order); the answer has so
 * many bytes, first the client's address (16 bytes, an IPv4 address mapped), then zeros.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/traffic.h"

#define MAX_ADDRESSES 256
#define REQUEST 4
#define HEAD ((uint32_t)sizeof(struct in6_addr))
#define EVENTS 64

static const uint8_t zeros[65536];
static int epoll_fd;

static void watch(int operation, int fd, uint32_t events, void *what)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
		traffic_die("epoll_ctl");
}

/* ---- the server ---- */

struct answer {
	int fd;
	uint8_t request[REQUEST];
	uint32_t have; /* of the request */
	uint32_t size, sent;
	struct in6_addr peer;
};

static void answer_end(struct answer *answer)
{
	close(answer->fd);
	free(answer);
}

/* Send what the socket takes; returns true when there is nothing left to do */
static bool answer_send(struct answer *answer)
{
	while (answer->sent < answer->size) {
		const bool head = answer->sent < HEAD;
		const uint8_t *from = head ? answer->peer.s6_addr + answer->sent : zeros;
		size_t n = head ? HEAD - answer->sent : answer->size - answer->sent;
		ssize_t sent;

		if (n > sizeof(zeros))
			n = sizeof(zeros);
		/* MSG_MORE: the address shares its segment with the zeros */
		sent = send(answer->fd, from, n, MSG_NOSIGNAL | (head && answer->size > HEAD ? MSG_MORE : 0));
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno != EAGAIN;
		answer->sent += (uint32_t)sent;
	}
	return true;
}

static void answer_go_on(struct answer *answer)
{
	if (!answer->size) {
		ssize_t got = recv(answer->fd, answer->request + answer->have, REQUEST - answer->have, 0);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			answer_end(answer);
			return;
		}
		answer->have += (uint32_t)got;
		if (answer->have < REQUEST)
			return;
		answer->size = traffic_get32(answer->request);
		if (answer->size < HEAD)
			answer->size = HEAD;
		watch(EPOLL_CTL_MOD, answer->fd, EPOLLOUT, answer);
	}
	if (answer_send(answer))
		answer_end(answer);
}

static void serve_accept(int listener)
{
	struct sockaddr_in6 peer;
	socklen_t len = sizeof(peer);
	int fd;

	while ((fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK)) >= 0) {
		struct answer *answer = traffic_realloc(NULL, sizeof(*answer));

		*answer = (struct answer){ .fd = fd, .peer = peer.sin6_addr };
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		watch(EPOLL_CTL_ADD, fd, EPOLLIN, answer);
		/* epoll has `answer` now, answer_end() frees it: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		len = sizeof(peer);
	}
}

static int serve_listen(unsigned port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		traffic_die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	/* As web servers do: the request makes the connection; see download_start() */
	setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){ 10 }, sizeof(int));
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)) < 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 4096) < 0)
		traffic_die("listen");
	return fd;
}

static int serve(const char *port_text)
{
	static char input, incoming; /* only their addresses matter */
	struct epoll_event events[EVENTS];
	unsigned port, last;
	char ignored[64];
	int listener;

	traffic_parse_ports(port_text, &port, &last);
	listener = serve_listen(port);
	watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &input);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN, &incoming);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS, -1);

		if (n < 0 && errno != EINTR)
			traffic_die("epoll_wait");
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &incoming)
				serve_accept(listener);
			else if (events[i].data.ptr != &input)
				answer_go_on(events[i].data.ptr);
			else if (read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
				return 0;
		}
	}
}

/* ---- the client ---- */

struct download {
	uint64_t due, started, ended; /* microseconds */
	uint32_t size, have;
	int fd; /* -1: not open */
	bool connected;
	const char *result; /* NULL: not ended */
	struct in6_addr peer;
};

static struct {
	struct in_addr to[MAX_ADDRESSES], from[MAX_ADDRESSES];
	unsigned n_to, n_from;
	unsigned port;
	unsigned from_port, last_from_port; /* 0: the kernel's choice */
	uint64_t timeout; /* microseconds */
} options = { .port = 80, .timeout = 60 * 1000000 };

static struct download *downloads;
static size_t n_downloads, n_ended;

static void download_end(struct download *download, const char *result)
{
	if (download->fd >= 0)
		close(download->fd);
	download->fd = -1;
	download->ended = traffic_now_us();
	download->result = result;
	n_ended++;
}

/* Give it the source address and port that its turn asks for */
static bool download_bind(const struct download *download)
{
	const size_t index = (size_t)(download - downloads);
	struct sockaddr_in from = { .sin_family = AF_INET };

	if (!options.n_from && !options.from_port)
		return true;
	if (options.n_from)
		from.sin_addr = options.from[index % options.n_from];
	if (options.from_port)
		from.sin_port =
			htons((uint16_t)(options.from_port + index % (options.last_from_port - options.from_port + 1)));
	else /* the port is chosen by connect(), so that one may serve several servers */
		setsockopt(download->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
	return bind(download->fd, (struct sockaddr *)&from, sizeof(from)) == 0;
}

static void download_start(struct download *download)
{
	const size_t index = (size_t)(download - downloads);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port) };

	download->started = traffic_now_us();
	download->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (download->fd < 0) {
		download_end(download, strerror(errno));
		return;
	}
	setsockopt(download->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	/* The request carries the handshake's last ACK. A bare ACK right before it may be taken by another processor of
	 * the far side at the same time; then one of the two can find neither the half-open nor the open connection
	 * and is answered by a reset: seen for some downloads of 100,000, whatever chose the link. */
	setsockopt(download->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 }, sizeof(int));
	if (!download_bind(download)) {
		download_end(download, strerror(errno));
		return;
	}
	/* --to is required: NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
	to.sin_addr = options.to[index % options.n_to];
	if (connect(download->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS) {
		download_end(download, strerror(errno));
		return;
	}
	watch(EPOLL_CTL_ADD, download->fd, EPOLLOUT, download);
}

static void download_ask(struct download *download)
{
	uint8_t request[REQUEST];
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(download->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
		download_end(download, strerror(error ? error : errno));
		return;
	}
	traffic_put32(request, download->size);
	if (send(download->fd, request, sizeof(request), MSG_NOSIGNAL) != sizeof(request)) {
		download_end(download, strerror(errno));
		return;
	}
	download->connected = true;
	watch(EPOLL_CTL_MOD, download->fd, EPOLLIN, download);
}

static void download_read(struct download *download)
{
	static uint8_t buffer[65536];

	for (;;) {
		ssize_t got = recv(download->fd, buffer, sizeof(buffer), 0);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got < 0) {
			download_end(download, strerror(errno));
			return;
		}
		if (got == 0) {
			download_end(download, download->have == download->size ? "ok" : "cut short");
			return;
		}
		for (uint32_t i = 0; download->have + i < HEAD && i < (uint32_t)got; i++)
			download->peer.s6_addr[download->have + i] = buffer[i];
		download->have += (uint32_t)got;
	}
}

/* Open what is due, give up what took too long; returns when to look again (0: never) */
static uint64_t fetch_due(uint64_t now, size_t *next, size_t *oldest)
{
	uint64_t again;

	while (*next < n_downloads && downloads[*next].due <= now)
		download_start(&downloads[(*next)++]);
	while (*oldest < *next && (downloads[*oldest].result || downloads[*oldest].started + options.timeout <= now)) {
		if (!downloads[*oldest].result)
			download_end(&downloads[*oldest], "timeout");
		(*oldest)++;
	}
	again = *oldest < *next ? downloads[*oldest].started + options.timeout : 0;
	if (*next < n_downloads && (!again || downloads[*next].due < again))
		again = downloads[*next].due;
	return again;
}

static void fetch_all(void)
{
	struct epoll_event events[EVENTS];
	const uint64_t start = traffic_now_us() + 100000;
	size_t next = 0, oldest = 0;

	for (size_t i = 0; i < n_downloads; i++)
		downloads[i].due += start;
	while (n_ended < n_downloads) {
		const uint64_t again = fetch_due(traffic_now_us(), &next, &oldest);
		const uint64_t now = traffic_now_us();
		const uint64_t wait = again > now ? again - now : 0;
		const struct timespec timeout = { (time_t)(wait / 1000000), (long)(wait % 1000000) * 1000 };
		/* milliseconds would be too coarse: many downloads take less */
		int n = n_ended < n_downloads ? epoll_pwait2(epoll_fd, events, EVENTS, &timeout, NULL) : 0;

		if (n < 0 && errno != EINTR)
			traffic_die("epoll_pwait2");
		for (int i = 0; i < n; i++) {
			struct download *download = events[i].data.ptr;

			if (download->connected)
				download_read(download);
			else
				download_ask(download);
		}
	}
}

static void fetch_list(void)
{
	size_t room = 0;
	uint64_t due;
	uint32_t size;
	int got;

	while ((got = scanf("%" SCNu64 " %" SCNu32, &due, &size)) == 2) {
		if (n_downloads == room) {
			room = room ? 2 * room : 1024;
			downloads = traffic_realloc(downloads, room * sizeof(*downloads));
		}
		if (size < HEAD || (n_downloads && due < downloads[n_downloads - 1].due)) {
			fprintf(stderr, "download %zu: expected at least %u bytes, and ascending times\n", n_downloads,
				HEAD);
			exit(2);
		}
		downloads[n_downloads++] = (struct download){ .due = due, .size = size, .fd = -1 };
	}
	if (got != EOF) {
		fprintf(stderr, "download %zu: expected two numbers\n", n_downloads);
		exit(2);
	}
}

static void fetch_print(void)
{
	char peer[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < n_downloads; i++) {
		const struct download *d = &downloads[i];

		printf("%" PRIu64 " %" PRIu64 " %s %s\n", d->started - d->due, d->ended - d->started,
		       d->have >= HEAD ? traffic_address(&d->peer, peer) : "-", d->result);
	}
}

static unsigned parse_addresses(char *text, struct in_addr *list)
{
	unsigned n = 0;

	for (char *word = strtok(text, ","); word; word = strtok(NULL, ",")) {
		if (n == MAX_ADDRESSES || inet_pton(AF_INET, word, &list[n++]) != 1) {
			fprintf(stderr, "%s: expected an IPv4 address, %d at most\n", word, MAX_ADDRESSES);
			exit(2);
		}
	}
	return n;
}

static int fetch(int argc, char **argv)
{
	/* clang-format off */
	static const struct option names[] = {
		{ "to", required_argument, NULL, 't' },
		{ "port", required_argument, NULL, 'p' },
		{ "from", required_argument, NULL, 'f' },
		{ "from-port", required_argument, NULL, 'P' },
		{ "timeout", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	/* clang-format on */
	unsigned last;
	int option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (option) {
		case 't':
			options.n_to = parse_addresses(optarg, options.to);
			break;
		case 'f':
			options.n_from = parse_addresses(optarg, options.from);
			break;
		case 'p':
			traffic_parse_ports(optarg, &options.port, &last);
			break;
		case 'P':
			traffic_parse_ports(optarg, &options.from_port, &options.last_from_port);
			break;
		case 's':
			options.timeout = (uint64_t)(atof(optarg) * 1e6);
			break;
		default:
			return 2;
		}
	}
	if (!options.n_to) {
		fputs("traffic-download fetch: expected --to\n", stderr);
		return 2;
	}
	fetch_list();
	fetch_all();
	fetch_print();
	return 0;
}

int main(int argc, char **argv)
{
	traffic_raise_files();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		traffic_die("epoll_create1");
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc > 2 && !strcmp(argv[1], "fetch"))
		return fetch(argc - 1, argv + 1);
	fputs("Usage: traffic-download serve PORT\n       traffic-download fetch --to A[,A...] [options] < LIST\n",
	      stderr);
	return 2;
}
