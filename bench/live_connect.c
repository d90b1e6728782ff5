/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/live_connect.c - TCP connections with real sockets: how many a second, and how long each takes
 *
 *   live_connect serve PORT                 accept, close; prints "ready", ends at the end of standard input
 *   live_connect rate OPTIONS               --parallel N connections under way at any time
 *   live_connect probe OPTIONS              one after the other, --rate R a second
 *
 *   OPTIONS: --from ADDRESS[,...] --to ADDRESS[,...] [--port P] [--seconds S] [--parallel N] [--rate R] [--cpu N]
 *
 * A connection is opened, and reset as soon as it is established. Prints one line of JSON: "established",
 * "failed", "again" (those whose SYN had to be sent twice), "seconds", and in microseconds "p50", "p99".
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/live.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define MAX_PARALLEL 1024
#define MAX_SAMPLES (4u << 20)
#define EVENTS 64
#define BACKLOG 65535
#define PATIENCE_NS 3000000000ull
#define AGAIN_NS 900000000ull /* the first SYN is sent again after a second */

struct run {
	struct live_options options;
	unsigned parallel, next;
	int epoll;
	uint64_t established, failed, again;
	uint64_t begun[MAX_PARALLEL];
	int fds[MAX_PARALLEL]; /* -1: free */
	uint32_t *samples; /* ns */
};

/* ---- the far side ---- */

static int serve(unsigned port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd watched[] = { { fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		traffic_die("listen");
	puts("ready");
	fflush(stdout);
	while (poll(watched, 2, -1) > 0 && !watched[1].revents) {
		int client;

		while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
			close(client);
	}
	return 0;
}

/* ---- the near side ---- */

/* A socket that has begun to connect, or -1 */
static int begin(struct run *run, int flags)
{
	struct sockaddr_in to = *(struct sockaddr_in *)&run->options.to[run->next % run->options.n_to];
	struct sockaddr_in from =
		*(struct sockaddr_in *)&run->options.from[run->next / run->options.n_to % run->options.n_from];
	struct linger reset = { 1, 0 };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	run->next++;
	to.sin_port = htons(run->options.port);
	if (fd < 0)
		traffic_die("socket");
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		traffic_die("bind");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0 || errno == EINPROGRESS)
		return fd;
	close(fd);
	return -1;
}

static void count(struct run *run, bool established, uint64_t took)
{
	if (established) {
		if (run->established < MAX_SAMPLES)
			run->samples[run->established] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
		run->established++;
		run->again += took > AGAIN_NS;
	} else {
		run->failed++;
	}
}

static void begin_slot(struct run *run, unsigned slot)
{
	struct epoll_event event = { .events = EPOLLOUT, .data.u32 = slot };

	run->begun[slot] = live_now_ns();
	run->fds[slot] = begin(run, SOCK_NONBLOCK);
	if (run->fds[slot] < 0)
		count(run, false, 0);
	else if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, run->fds[slot], &event) < 0)
		traffic_die("epoll_ctl");
}

static void end_slot(struct run *run, unsigned slot, bool established)
{
	count(run, established, live_now_ns() - run->begun[slot]);
	close(run->fds[slot]);
	run->fds[slot] = -1;
}

/* Look at what became of connections; how many are under way */
static unsigned look(struct run *run, int wait_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(run->epoll, events, EVENTS, wait_ms);
	unsigned under_way = 0;

	for (int i = 0; i < n; i++)
		end_slot(run, events[i].data.u32, !(events[i].events & (EPOLLERR | EPOLLHUP)));
	if (n == 0) {
		for (unsigned slot = 0; slot < run->parallel; slot++) {
			if (run->fds[slot] >= 0 && live_now_ns() - run->begun[slot] > PATIENCE_NS)
				end_slot(run, slot, false);
		}
	}
	for (unsigned slot = 0; slot < run->parallel; slot++)
		under_way += run->fds[slot] >= 0;
	return under_way;
}

static double run_rate(struct run *run)
{
	uint64_t start = live_now_ns(), end = start + (uint64_t)(run->options.seconds * 1e9), stopped;

	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned slot = 0; slot < run->parallel; slot++)
		run->fds[slot] = -1;
	while (live_now_ns() < end) {
		for (unsigned slot = 0; slot < run->parallel; slot++) {
			if (run->fds[slot] < 0)
				begin_slot(run, slot);
		}
		look(run, 10);
	}
	stopped = live_now_ns();
	while (look(run, 10))
		;
	return (double)(stopped - start) / 1e9;
}

static double run_probe(struct run *run)
{
	uint64_t start = live_now_ns(), end = start + (uint64_t)(run->options.seconds * 1e9), begun = start;

	for (uint64_t n = 0; begun < end; n++) {
		uint64_t due = run->options.rate > 0 ? start + (uint64_t)((double)n / run->options.rate * 1e9) : start;
		struct timespec at = { (time_t)(due / 1000000000), (long)(due % 1000000000) };
		int fd;

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		begun = live_now_ns();
		fd = begin(run, 0);
		count(run, fd >= 0, live_now_ns() - begun);
		if (fd >= 0)
			close(fd);
	}
	return (double)(live_now_ns() - start) / 1e9;
}

/* ---- start and report ---- */

static int compare(const void *a, const void *b)
{
	uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;

	return one < other ? -1 : one > other;
}

/* Microseconds, of n samples in order */
static double percentile(const uint32_t *samples, size_t n, unsigned percent)
{
	const size_t place = n * percent / 100;

	return n ? samples[place] / 1e3 : 0;
}

static void report(struct run *run, double seconds)
{
	const size_t n = run->established < MAX_SAMPLES ? run->established : MAX_SAMPLES;

	qsort(run->samples, n, sizeof(*run->samples), compare);
	printf("{\"established\":%llu,\"failed\":%llu,\"again\":%llu,\"seconds\":%.6f,\"p50\":%.2f,\"p99\":%.2f}\n",
	       (unsigned long long)run->established, (unsigned long long)run->failed, (unsigned long long)run->again,
	       seconds, percentile(run->samples, n, 50), percentile(run->samples, n, 99));
}

static int usage(void)
{
	fprintf(stderr,
		"usage: live_connect serve PORT | live_connect rate|probe --from ADDRESSES --to ADDRESSES [options]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		LIVE_OPTIONS,
		{ "parallel", required_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 },
	};
	static struct run run = { .options = { .port = 80, .seconds = 1, .cpu = -1 }, .parallel = 64 };
	int name;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve((unsigned)strtoul(argv[2], NULL, 10));
	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (name == 'n')
			run.parallel = (unsigned)strtoul(optarg, NULL, 10);
		else if (!live_take_option(&run.options, name, optarg))
			return usage();
	}
	if (!run.options.n_from || !run.options.n_to || !run.parallel || run.parallel > MAX_PARALLEL ||
	    optind + 1 != argc)
		return usage();
	bool probe = strcmp(argv[optind], "probe") == 0;

	if (!probe && strcmp(argv[optind], "rate") != 0)
		return usage();
	live_pin(run.options.cpu);
	prctl(PR_SET_TIMERSLACK, 1UL);
	traffic_raise_files();
	run.samples = traffic_realloc(NULL, MAX_SAMPLES * sizeof(*run.samples));
	report(&run, probe ? run_probe(&run) : run_rate(&run));
	return 0;
}
