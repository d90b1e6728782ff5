/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/traffic-client.c - open connections or UDP flows at a rate, and say what became of each
 *
 *   traffic-client --to ADDRESS[,ADDRESS...] [options]
 *
 *   --udp            UDP flows; default: TCP connections. --in-turn: requests wait for answers, as TCP's do
 *   --port P[-Q]     destination ports, used in turn (default 80)
 *   --from A[,A...]  source addresses, used in turn
 *   --from-port P[-Q] source ports, used in turn from a place that the run's number gives,
 *                    so that no two flows of few runs are one; default: the kernel's choice
 *   --flows N        how many; 0: until SIGTERM (default 1)
 *   --rate R         new flows per second, whatever becomes of the earlier ones;
 *                    0: as fast as --parallel allows (default)
 *   --parallel N     open at once with --rate 0 (default 256)
 *   --packets K      requests per flow (default 1)
 *   --spread S       seconds from a flow's first request to its last (default 0)
 *   --hold           keep each flow's last request back until SIGUSR1
 *   --want B         bytes per answer (default the least, 44)
 *   --timeout S      patience for a connection or an answer (default 20)
 *   --run R          number of this run in the server's report (default 1)
 *   --tos N          type of service (DSCP in the upper six bits)
 *   --log FILE       one line per flow: START FLOW RESULT PEER MICROSECONDS, START in
 *                    seconds since 1970, RESULT "ok" or why not, PEER the address the
 *                    server saw, MICROSECONDS until connected (UDP: first answer)
 *
 * SIGTERM: open no more, wait for what is open. Ends with one line of JSON on standard output; exit
 * status 0 even if flows failed. TCP requests wait for the answer before; UDP requests go out by the
 * clock, and missing answers are counted. The format on the wire is in traffic.h.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/timers.h"
#include "tests/tools/traffic.h"

#define MAX_KINDS 64
#define HOLD_US 250000 /* between two looks whether it is over */

enum state {
	FREE,
	CONNECTING,
	WAITING,
	IDLE
};

struct flow {
	enum state state;
	int fd;
	uint32_t id;
	uint32_t seq; /* requests sent */
	uint32_t answers;
	size_t have; /* bytes of the answer being read (TCP) */
	uint64_t started, due; /* microseconds */
	uint64_t latency;
	struct timespec wall;
	struct in6_addr peer; /* as the server saw us at first */
	bool moved; /* and later differently */
	uint8_t head[TRAFFIC_ANSWER];
};

struct tally { /* how many flows of each name */
	char name[INET6_ADDRSTRLEN];
	unsigned long count;
};

static struct options {
	bool udp, hold;
	struct sockaddr_storage to[TRAFFIC_MAX_ADDRESSES], from[TRAFFIC_MAX_ADDRESSES];
	unsigned n_to, n_from;
	unsigned port, last_port, from_port, last_from_port;
	uint32_t flows, packets, want, run, parallel;
	double rate, spread, timeout;
	int tos, in_turn;
	FILE *log;
} options = { .port = 80, .last_port = 80, .flows = 1, .packets = 1, .run = 1, .parallel = 256, .timeout = 20 };

static struct flow *flows;
static uint32_t n_slots, *free_slots, n_free, n_open, n_opened;
static struct timers timers;
static int epoll_fd;
static volatile sig_atomic_t stopping, released;

static struct {
	unsigned long completed, failed, requests, answers, moved, retransmits;
	struct tally failures[MAX_KINDS], peers[MAX_KINDS * 16];
	uint32_t *latencies;
	size_t n_latencies, room;
} result;

/* ---- what became of it ---- */

static void tally_add(struct tally *tallies, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (!tallies[i].count)
			snprintf(tallies[i].name, sizeof(tallies[i].name), "%s", name);
		if (!strcmp(tallies[i].name, name) || i == n - 1) { /* the last slot takes the rest */
			tallies[i].count++;
			return;
		}
	}
}

static void latency_add(uint64_t latency)
{
	if (result.n_latencies == result.room) {
		result.room = result.room ? result.room * 2 : 4096;
		result.latencies = traffic_realloc(result.latencies, result.room * sizeof(*result.latencies));
	}
	result.latencies[result.n_latencies++] = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
}

static const char *failure_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "unknown";
}

static void flow_log(const struct flow *flow, const char *what, const char *peer)
{
	if (options.log)
		fprintf(options.log, "%ld.%06ld\t%u\t%s\t%s\t%lu\n", (long)flow->wall.tv_sec, flow->wall.tv_nsec / 1000,
			flow->id, what, peer, flow->latency);
}

/* failure NULL: it went well */
static void flow_end(struct flow *flow, const char *failure)
{
	char peer[INET6_ADDRSTRLEN] = "-";
	struct tcp_info info;
	socklen_t size = sizeof(info);

	if (!options.udp && getsockopt(flow->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
		result.retransmits += info.tcpi_total_retrans;
	if (flow->answers) {
		traffic_address(&flow->peer, peer);
		tally_add(result.peers, MAX_KINDS * 16, peer);
	}
	result.moved += flow->moved;
	if (failure) {
		result.failed++;
		tally_add(result.failures, MAX_KINDS, failure);
	} else {
		result.completed++;
	}
	flow_log(flow, failure ? failure : "ok", peer);
	close(flow->fd);
	flow->state = FREE;
	free_slots[n_free++] = (uint32_t)(flow - flows);
	n_open--;
}

/* ---- timers: an entry counts only if the flow still is due then ---- */

static void timer_set(struct flow *flow, uint64_t due)
{
	flow->due = due;
	timers_add(&timers, due, (uint32_t)(flow - flows));
}

static uint64_t patience(void)
{
	return (uint64_t)(options.timeout * 1e6);
}

/* ---- one flow ---- */

static uint64_t next_request_due(const struct flow *flow)
{
	if (options.packets < 2)
		return 0;
	return flow->started + (uint64_t)(options.spread * 1e6 * flow->seq / (options.packets - 1));
}

static size_t answer_size(void)
{
	return options.want > TRAFFIC_ANSWER ? options.want : TRAFFIC_ANSWER;
}

static void flow_request(struct flow *flow, uint64_t now)
{
	struct traffic_request request = { options.run, flow->id, flow->seq, options.want, 0 };
	uint8_t bytes[TRAFFIC_REQUEST];

	traffic_write_request(bytes, &request);
	if (send(flow->fd, bytes, sizeof(bytes), MSG_NOSIGNAL) != sizeof(bytes)) {
		flow_end(flow, failure_name(errno));
		return;
	}
	flow->seq++;
	result.requests++;
	if (options.udp && !options.in_turn && flow->seq < options.packets) {
		flow->state = IDLE;
		timer_set(flow, next_request_due(flow));
	} else {
		flow->state = WAITING;
		timer_set(flow, now + patience());
	}
}

static bool flow_connect(struct flow *flow)
{
	const struct sockaddr_storage *to =
		/* --to is required: NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
		&options.to[n_opened / (options.n_from ? options.n_from : 1) % options.n_to];
	unsigned lap = n_opened / ((options.n_from ? options.n_from : 1) * options.n_to);
	unsigned port = options.port + lap % (options.last_port - options.port + 1);
	struct sockaddr_storage address = *to;
	socklen_t size = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int on = 1;

	/* the port is at the same place in both */
	((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)port);
	flow->fd = socket(to->ss_family, (options.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (flow->fd < 0)
		return false;
	if (options.tos) {
		setsockopt(flow->fd, IPPROTO_IP, IP_TOS, &options.tos, sizeof(options.tos));
		setsockopt(flow->fd, IPPROTO_IPV6, IPV6_TCLASS, &options.tos, sizeof(options.tos));
	}
	if (options.n_from || options.from_port) {
		struct sockaddr_storage from = { .ss_family = to->ss_family };

		if (options.n_from)
			from = options.from[n_opened % options.n_from];
		if (options.from_port) {
			unsigned range = options.last_from_port - options.from_port + 1;

			((struct sockaddr_in *)&from)->sin_port =
				htons((uint16_t)(options.from_port + (options.run * 977 + n_opened) % range));
			setsockopt(flow->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		} else {
			setsockopt(flow->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		}
		if (bind(flow->fd, (struct sockaddr *)&from, size) < 0)
			return false;
	}
	/* the request carries the handshake's last ACK: on two processors at once they may end in a reset */
	if (!options.udp)
		setsockopt(flow->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 }, sizeof(int));
	return connect(flow->fd, (struct sockaddr *)&address, size) == 0 || errno == EINPROGRESS;
}

static struct flow *flow_slot(void)
{
	if (!n_free) {
		uint32_t n = n_slots ? n_slots * 2 : 1024;

		flows = traffic_realloc(flows, n * sizeof(*flows));
		free_slots = traffic_realloc(free_slots, n * sizeof(*free_slots));
		for (uint32_t slot = n; slot-- > n_slots;)
			free_slots[n_free++] = slot;
		n_slots = n;
	}
	return &flows[free_slots[--n_free]];
}

static void flow_open(uint64_t now)
{
	struct flow *flow = flow_slot();
	struct epoll_event event = { .events = options.udp ? EPOLLIN : EPOLLOUT };

	*flow = (struct flow){ .state = CONNECTING, .fd = -1, .id = n_opened, .started = now };
	clock_gettime(CLOCK_REALTIME, &flow->wall);
	n_open++;
	if (!flow_connect(flow)) {
		n_opened++;
		flow_end(flow, failure_name(errno));
		return;
	}
	n_opened++;
	event.data.u32 = (uint32_t)(flow - flows);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, flow->fd, &event);
	if (options.udp)
		flow_request(flow, now);
	else
		timer_set(flow, now + patience());
}

static void flow_connected(struct flow *flow, uint64_t now)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = (uint32_t)(flow - flows) };
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		flow_end(flow, failure_name(error));
		return;
	}
	flow->latency = now - flow->started;
	latency_add(flow->latency);
	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, flow->fd, &event);
	flow_request(flow, now);
}

/* A whole answer is there (of a TCP answer only the head was kept). False: the flow ended. */
static bool flow_answer(struct flow *flow, uint64_t now)
{
	struct traffic_request request;
	struct in6_addr peer;

	if (!traffic_read_request(flow->head, &request) || request.run != options.run || request.flow != flow->id) {
		flow_end(flow, "wrong answer");
		return false;
	}
	memcpy(&peer, flow->head + 28, sizeof(peer));
	if (!flow->answers++)
		flow->peer = peer;
	else if (memcmp(&peer, &flow->peer, sizeof(peer)))
		flow->moved = true;
	result.answers++;
	if (options.udp && flow->answers == 1) {
		flow->latency = now - flow->started;
		latency_add(flow->latency);
	}
	if (flow->answers == options.packets) {
		flow_end(flow, NULL);
		return false;
	}
	if (!options.udp || options.in_turn) {
		flow->state = IDLE;
		timer_set(flow, next_request_due(flow));
	}
	return true;
}

static void flow_read(struct flow *flow, uint64_t now)
{
	static uint8_t buffer[65536];

	for (;;) {
		size_t room = options.udp ? sizeof(buffer) : answer_size() - flow->have;
		ssize_t n = recv(flow->fd, buffer, room < sizeof(buffer) ? room : sizeof(buffer), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			flow_end(flow, n ? failure_name(errno) : "closed");
			return;
		}
		if (options.udp)
			flow->have = 0;
		if (flow->have < TRAFFIC_ANSWER) {
			size_t want = TRAFFIC_ANSWER - flow->have;

			memcpy(flow->head + flow->have, buffer, (size_t)n < want ? (size_t)n : want);
		}
		flow->have += (size_t)n;
		if (flow->have < answer_size() && !options.udp)
			continue;
		flow->have = 0;
		if (!flow_answer(flow, now))
			return;
	}
}

static void flow_due(struct flow *flow, uint64_t now)
{
	bool held = options.hold && !released && flow->seq == options.packets - 1;

	if (flow->state == IDLE && held)
		timer_set(flow, now + HOLD_US);
	else if (flow->state == IDLE)
		flow_request(flow, now);
	else if (flow->state == CONNECTING)
		flow_end(flow, "timeout");
	else
		flow_end(flow, options.udp ? "unanswered" : "no answer");
}

/* ---- the loop ---- */

static bool more_to_open(void)
{
	return !stopping && (!options.flows || n_opened < options.flows);
}

/* Open what the rate says should be open by now; never so much at once that answers wait */
static void open_due(uint64_t start, uint64_t now)
{
	for (int burst = 0; burst < 64 && more_to_open(); burst++) {
		if (options.rate > 0 ? n_opened >= (double)(now - start) * options.rate / 1e6
				     : n_open >= options.parallel)
			return;
		flow_open(now);
		now = traffic_now_us();
	}
}

static void run_timers(uint64_t now)
{
	while (timers.n && timers.heap[0].due <= now) {
		struct timer timer = timers_pop(&timers);
		struct flow *flow = &flows[timer.slot];

		if (flow->state != FREE && flow->due == timer.due)
			flow_due(flow, now);
	}
}

static void loop(void)
{
	uint64_t start = traffic_now_us(), flushed = start;

	while (more_to_open() || n_open) {
		struct epoll_event events[256];
		int n = epoll_wait(epoll_fd, events, 256, 1);
		uint64_t now = traffic_now_us();

		for (int i = 0; i < n; i++) {
			struct flow *flow = &flows[events[i].data.u32];

			if (flow->state == CONNECTING)
				flow_connected(flow, now);
			else if (flow->state != FREE)
				flow_read(flow, now);
		}
		run_timers(now);
		open_due(start, now);
		if (options.log && now - flushed > 100000) {
			fflush(options.log);
			flushed = now;
		}
	}
}

/* ---- the report ---- */

static int compare_latency(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint32_t percentile(unsigned per_mille)
{
	return result.n_latencies ? result.latencies[(result.n_latencies - 1) * per_mille / 1000] : 0;
}

static void print_tally(const char *name, const struct tally *tallies, size_t n)
{
	printf(",\"%s\":{", name);
	for (size_t i = 0; i < n && tallies[i].count; i++)
		printf("%s\"%s\":%lu", i ? "," : "", tallies[i].name, tallies[i].count);
	printf("}");
}

static void report(double seconds)
{
	if (result.n_latencies)
		qsort(result.latencies, result.n_latencies, sizeof(*result.latencies), compare_latency);
	printf("{\"run\":%u,\"flows\":%u,\"completed\":%lu,\"failed\":%lu,\"requests\":%lu,\"answers\":%lu,"
	       "\"moved\":%lu,\"retransmits\":%lu,\"seconds\":%.3f",
	       options.run, n_opened, result.completed, result.failed, result.requests, result.answers, result.moved,
	       result.retransmits, seconds);
	print_tally("failures", result.failures, MAX_KINDS);
	print_tally("by_peer", result.peers, MAX_KINDS * 16);
	printf(",\"connect_us\":{\"p50\":%u,\"p95\":%u,\"p99\":%u,\"max\":%u}}\n", percentile(500), percentile(950),
	       percentile(990), percentile(1000));
}

/* ---- options ---- */

static const struct {
	int name;
	uint32_t *value;
} numbers[] = {
	{ 'n', &options.flows }, { 'c', &options.parallel }, { 'k', &options.packets },
	{ 'w', &options.want },	 { 'R', &options.run },
};

static const struct {
	int name;
	double *value;
} reals[] = {
	{ 'r', &options.rate },
	{ 's', &options.spread },
	{ 'T', &options.timeout },
};

static bool parse_number(int name, const char *value)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].name == name) {
			*numbers[i].value = (uint32_t)strtoul(value, NULL, 10);
			return true;
		}
	for (size_t i = 0; i < sizeof(reals) / sizeof(reals[0]); i++)
		if (reals[i].name == name) {
			*reals[i].value = strtod(value, NULL);
			return true;
		}
	return false;
}

static void parse_option(int name, char *value)
{
	if (!name || parse_number(name, value))
		return;
	switch (name) {
	case 'u':
		options.udp = true;
		break;
	case 'h':
		options.hold = true;
		break;
	case 't':
		options.n_to = traffic_parse_addresses(value, options.to);
		break;
	case 'f':
		options.n_from = traffic_parse_addresses(value, options.from);
		break;
	case 'p':
		traffic_parse_ports(value, &options.port, &options.last_port);
		break;
	case 'P':
		traffic_parse_ports(value, &options.from_port, &options.last_from_port);
		break;
	case 'o':
		options.tos = (int)strtol(value, NULL, 0);
		break;
	case 'l':
		options.log = fopen(value, "w");
		if (!options.log)
			traffic_die(value);
		break;
	default:
		exit(2);
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option names[] = {
		{ "udp", no_argument, NULL, 'u' },
		{ "to", required_argument, NULL, 't' },
		{ "from", required_argument, NULL, 'f' },
		{ "port", required_argument, NULL, 'p' },
		{ "from-port", required_argument, NULL, 'P' },
		{ "flows", required_argument, NULL, 'n' },
		{ "rate", required_argument, NULL, 'r' },
		{ "parallel", required_argument, NULL, 'c' },
		{ "packets", required_argument, NULL, 'k' },
		{ "spread", required_argument, NULL, 's' },
		{ "want", required_argument, NULL, 'w' },
		{ "timeout", required_argument, NULL, 'T' },
		{ "hold", no_argument, NULL, 'h' },
		{ "in-turn", no_argument, &options.in_turn, 1 },
		{ "run", required_argument, NULL, 'R' },
		{ "tos", required_argument, NULL, 'o' },
		{ "log", required_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1)
		parse_option(name, optarg);
	if (!options.n_to || optind < argc) {
		fprintf(stderr, "usage: traffic-client --to ADDRESS[,ADDRESS...] [options]\n");
		exit(2);
	}
}

static void on_signal(int number)
{
	if (number == SIGUSR1)
		released = 1;
	else
		stopping = 1;
}

int main(int argc, char **argv)
{
	uint64_t start;

	parse_options(argc, argv);
	traffic_raise_files();
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGUSR1, on_signal);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		traffic_die("epoll_create1");
	start = traffic_now_us();
	loop();
	report((double)(traffic_now_us() - start) / 1e6);
	if (options.log)
		fclose(options.log);
	return 0;
}
