/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/tools/traffic.h - what traffic-client and traffic-server say to each other
 *
 * The same bytes over TCP and UDP, all numbers in network byte order. A request is
 * 24 bytes; a TCP connection carries any number of them, a datagram one:
 *
 *    0  magic   "NFQT"
 *    4  run     chosen by the client's caller: one run is one experiment
 *    8  flow    0, 1, 2, ... in one run: a connection or a UDP socket pair
 *   12  seq     0, 1, 2, ... in one flow
 *   16  want    bytes that the answer should have, at least 44
 *   20  flags   1: no answer
 *
 * The answer is those 24 bytes, the sender's address as the server saw it, and then
 * zeros up to `want` bytes:
 *
 *   24  family  4 or 6
 *   26  port
 *   28  address 16 bytes, an IPv4 address mapped (::ffff:a.b.c.d)
 *
 * Behind source NAT that address names the link that the flow took.
 */
#ifndef TESTS_TOOLS_TRAFFIC_H
#define TESTS_TOOLS_TRAFFIC_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define TRAFFIC_MAGIC 0x4e465154u
#define TRAFFIC_REQUEST 24
#define TRAFFIC_ANSWER 44
#define TRAFFIC_NO_ANSWER 1u
#define TRAFFIC_MAX_FLOWS (16u << 20)
#define TRAFFIC_MAX_DATAGRAM 1400
#define TRAFFIC_MAX_ADDRESSES 64

struct traffic_request {
	uint32_t run, flow, seq, want, flags;
};

static inline void traffic_put32(uint8_t *to, uint32_t value)
{
	value = htonl(value);
	memcpy(to, &value, sizeof(value));
}

static inline uint32_t traffic_get32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return ntohl(value);
}

static inline void traffic_write_request(uint8_t *to, const struct traffic_request *request)
{
	traffic_put32(to, TRAFFIC_MAGIC);
	traffic_put32(to + 4, request->run);
	traffic_put32(to + 8, request->flow);
	traffic_put32(to + 12, request->seq);
	traffic_put32(to + 16, request->want);
	traffic_put32(to + 20, request->flags);
}

/* False: not ours */
static inline bool traffic_read_request(const uint8_t *from, struct traffic_request *request)
{
	request->run = traffic_get32(from + 4);
	request->flow = traffic_get32(from + 8);
	request->seq = traffic_get32(from + 12);
	request->want = traffic_get32(from + 16);
	request->flags = traffic_get32(from + 20);
	return traffic_get32(from) == TRAFFIC_MAGIC && request->flow < TRAFFIC_MAX_FLOWS;
}

/* An address for people: a mapped IPv4 address as dotted quad */
static inline const char *traffic_address(const struct in6_addr *address, char text[INET6_ADDRSTRLEN])
{
	if (IN6_IS_ADDR_V4MAPPED(address))
		inet_ntop(AF_INET, &address->s6_addr[12], text, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, address, text, INET6_ADDRSTRLEN);
	return text;
}

static inline uint64_t traffic_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

__attribute__((noreturn)) static inline void traffic_die(const char *what)
{
	perror(what);
	exit(1);
}

static inline void *traffic_realloc(void *old, size_t size)
{
	void *fresh = realloc(old, size);

	if (!fresh)
		traffic_die("realloc");
	return fresh;
}

/* Thousands of sockets at once */
static inline void traffic_raise_files(void)
{
	struct rlimit limit = { 1 << 20, 1 << 20 };

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* "80" or "5000-5099" */
static inline void traffic_parse_ports(const char *text, unsigned *first, unsigned *last)
{
	char *end;

	*first = *last = (unsigned)strtoul(text, &end, 10);
	if (*end == '-')
		*last = (unsigned)strtoul(end + 1, &end, 10);
	if (*end || !*first || *last > 65535 || *first > *last) {
		fprintf(stderr, "%s: expected a port or a range of ports\n", text);
		exit(2);
	}
}

/* "192.0.2.1,2001:db8::1" into an array of TRAFFIC_MAX_ADDRESSES; returns how many. Ports stay 0. */
static inline unsigned traffic_parse_addresses(char *text, struct sockaddr_storage *out)
{
	unsigned n = 0;

	for (char *word = strtok(text, ","); word && n < TRAFFIC_MAX_ADDRESSES; word = strtok(NULL, ","), n++) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&out[n];
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out[n];
		bool is_v4 = !strchr(word, ':');

		out[n].ss_family = is_v4 ? AF_INET : AF_INET6;
		if (inet_pton(out[n].ss_family, word, is_v4 ? (void *)&v4->sin_addr : (void *)&v6->sin6_addr) != 1) {
			fprintf(stderr, "%s: expected an address\n", word);
			exit(2);
		}
	}
	return n;
}

#endif
