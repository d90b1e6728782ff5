/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/live_flood.c - the cheapest way to offer new UDP flows, or packets of known ones
 *
 *   live_flood --interface NAME --router MAC --from ADDRESS[,ADDRESS...] --to ADDRESS[,ADDRESS...]
 *              [--port P] [--first N] [--flows N] [--rate R] [--burst N] [--seconds S] [--cycle N [--open]] [--cpu N]
 *
 * Frames are written to a packet socket that bypasses the queueing discipline: half of what a
 * UDP socket costs, so that most of a processor is left to the router, whose softirq work
 * this sender does in its own system calls. Flow n has a source address, a destination and a pair of
 * ports of its own; after --flows of them, or --seconds, it ends. With --cycle the same N flows come
 * again and again; with --open each is first established, by a datagram that traffic-server answers.
 * All packets have DSCP 8 (CS1), by which counters know them.
 * Prints one line of JSON: {"sent": N, "seconds": S, "cpu": S}, the last being processor time.
 */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/live.h"

#define BATCH 64
#define PAYLOAD 18 /* the shortest Ethernet frame */
#define TOS_CS1 0x20
#define FIRST_PORT 1024u
#define PORTS 64000u /* source ports from FIRST_PORT on, then the next destination port */

struct frame {
	uint8_t unsent[2]; /* aligns what follows the Ethernet header */
	struct ethhdr ethernet;
	struct iphdr ip;
	struct udphdr udp;
	uint8_t payload[PAYLOAD];
};

#define FRAME_BYTES (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr) + PAYLOAD)

struct flood {
	struct live_options options;
	unsigned burst;
	uint64_t first, flows, cycle;
	const char *interface;
	uint8_t router[ETH_ALEN];
	int fd;
	bool open;
	struct frame frames[BATCH];
	struct iovec vectors[BATCH];
	struct mmsghdr messages[BATCH];
};

static uint32_t address_of(const struct sockaddr_storage *address)
{
	return ((const struct sockaddr_in *)address)->sin_addr.s_addr;
}

static uint16_t ip_checksum(const struct iphdr *ip)
{
	uint16_t words[sizeof(*ip) / 2];
	uint32_t sum = 0;

	memcpy(words, ip, sizeof(words));
	for (unsigned i = 0; i < sizeof(words) / 2; i++)
		sum += words[i];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void open_interface(struct flood *flood)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };
	struct ifreq request = { 0 };
	int on = 1, bytes = 4 << 20;

	flood->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (flood->fd < 0)
		traffic_die("packet socket");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", flood->interface);
	if (ioctl(flood->fd, SIOCGIFHWADDR, &request) < 0)
		traffic_die(flood->interface);
	memcpy(flood->frames[0].ethernet.h_source, request.ifr_hwaddr.sa_data, ETH_ALEN);
	address.sll_ifindex = (int)if_nametoindex(flood->interface);
	if (bind(flood->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(flood->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) < 0 ||
	    setsockopt(flood->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		traffic_die("packet socket");
}

/* What is the same in all frames */
static void prepare(struct flood *flood)
{
	struct frame *frame = &flood->frames[0];

	memcpy(frame->ethernet.h_dest, flood->router, ETH_ALEN);
	frame->ethernet.h_proto = htons(ETH_P_IP);
	frame->ip = (struct iphdr){ .version = 4,
				    .ihl = 5,
				    .tos = TOS_CS1,
				    .ttl = 64,
				    .protocol = IPPROTO_UDP,
				    .tot_len = htons(FRAME_BYTES - sizeof(frame->ethernet)) };
	/* checksum 0: none, which IPv4 allows */
	frame->udp = (struct udphdr){ .len = htons(sizeof(frame->udp) + PAYLOAD) };
	for (unsigned i = 0; i < BATCH; i++) {
		flood->frames[i] = *frame;
		flood->vectors[i] = (struct iovec){ &flood->frames[i].ethernet, FRAME_BYTES };
		flood->messages[i].msg_hdr = (struct msghdr){ .msg_iov = &flood->vectors[i], .msg_iovlen = 1 };
	}
}

/* Neighbours in time differ in all but the destination's port. A port is not used again, by no source address, before all
 * others: behind one address, source NAT would have to look for another one. */
static void address_frame(const struct flood *flood, struct frame *frame, uint64_t flow)
{
	const struct live_options *options = &flood->options;
	uint64_t turn = flow / options->n_to;

	frame->ip.daddr = address_of(&options->to[flow % options->n_to]);
	frame->ip.saddr = address_of(&options->from[turn % options->n_from]);
	frame->udp.source = htons((uint16_t)(FIRST_PORT + turn % PORTS));
	frame->udp.dest = htons((uint16_t)(options->port + turn / PORTS));
	frame->ip.check = 0;
	frame->ip.check = ip_checksum(&frame->ip);
}

/* Let conntrack see an answer to a flow */
static void establish(const struct flood *flood, uint64_t flow)
{
	struct traffic_request request = { 1, (uint32_t)flow, 0, TRAFFIC_ANSWER, 0 };
	struct timeval patience = { 1, 0 };
	uint8_t bytes[TRAFFIC_ANSWER];
	struct frame frame = flood->frames[0];
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	address_frame(flood, &frame, flow);
	from.sin_addr.s_addr = frame.ip.saddr;
	from.sin_port = frame.udp.source;
	to.sin_addr.s_addr = frame.ip.daddr;
	to.sin_port = frame.udp.dest;
	traffic_write_request(bytes, &request);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) < 0 ||
	    connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || send(fd, bytes, TRAFFIC_REQUEST, 0) < 0 ||
	    recv(fd, bytes, sizeof(bytes), 0) < 0)
		traffic_die("flow not established");
	close(fd);
}

static void send_batch(const struct flood *flood, struct mmsghdr *messages, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		int sent = sendmmsg(flood->fd, messages + done, n - done, 0);

		if (sent < 0 && errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
			traffic_die("sendmmsg");
		done += sent > 0 ? (unsigned)sent : 0;
	}
}

/* Sleep until `sent` packets are due; nothing where the rate is not limited */
static void pace(const struct flood *flood, uint64_t start, uint64_t sent)
{
	uint64_t due = start + (uint64_t)((double)sent / flood->options.rate * 1e6);
	struct timespec at = { (time_t)(due / 1000000), (long)(due % 1000000) * 1000 };

	if (flood->options.rate > 0)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static uint64_t run(struct flood *flood, uint64_t start)
{
	uint64_t end = flood->options.seconds > 0 ? start + (uint64_t)(flood->options.seconds * 1e6) : UINT64_MAX,
		 sent = 0;

	while (sent < flood->flows && traffic_now_us() < end) {
		unsigned n = flood->flows - sent < flood->burst ? (unsigned)(flood->flows - sent) : flood->burst;

		pace(flood, start, sent);
		for (unsigned i = 0; i < n; i++)
			address_frame(flood, &flood->frames[i],
				      flood->first + (flood->cycle ? (sent + i) % flood->cycle : sent + i));
		send_batch(flood, flood->messages, n);
		sent += n;
	}
	return sent;
}

/* What the router does in this process' system calls is in it */
static double processor_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

static void parse_mac(const char *text, uint8_t mac[ETH_ALEN])
{
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) !=
	    ETH_ALEN) {
		fprintf(stderr, "%s: expected an Ethernet address\n", text);
		exit(2);
	}
}

static const struct option names[] = {
	LIVE_OPTIONS,
	{ "interface", required_argument, NULL, 'i' },
	{ "router", required_argument, NULL, 'm' },
	{ "first", required_argument, NULL, 'F' },
	{ "flows", required_argument, NULL, 'n' },
	{ "burst", required_argument, NULL, 'b' },
	{ "cycle", required_argument, NULL, 'c' },
	{ "open", no_argument, NULL, 'o' },
	{ NULL, 0, NULL, 0 },
};

/* False: not an option of ours */
static bool take_option(struct flood *flood, int name, char *value)
{
	switch (name) {
	case 'i':
		flood->interface = value;
		break;
	case 'm':
		parse_mac(value, flood->router);
		break;
	case 'F':
		flood->first = strtoull(value, NULL, 10);
		break;
	case 'n':
		flood->flows = strtoull(value, NULL, 10);
		break;
	case 'b':
		flood->burst = (unsigned)strtoul(value, NULL, 10);
		break;
	case 'c':
		flood->cycle = strtoull(value, NULL, 10);
		break;
	case 'o':
		flood->open = true;
		break;
	default:
		return live_take_option(&flood->options, name, value);
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct flood flood = {
		.options = { .port = 5000, .cpu = -1 },
		.burst = BATCH,
		.flows = UINT64_MAX,
	};
	uint64_t start, sent;
	double busy;
	int name;

	while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (!take_option(&flood, name, optarg))
			return 2;
	}
	if (!flood.interface || !flood.options.n_from || !flood.options.n_to || !flood.burst || flood.burst > BATCH ||
	    optind < argc) {
		fprintf(stderr,
			"usage: live_flood --interface NAME --router MAC --from ADDRESSES --to ADDRESSES [options]\n");
		return 2;
	}
	live_pin(flood.options.cpu);
	prctl(PR_SET_TIMERSLACK, 1UL);
	open_interface(&flood);
	prepare(&flood);
	for (uint64_t flow = 0; flood.open && flow < flood.cycle; flow++)
		establish(&flood, flood.first + flow);
	busy = processor_seconds();
	start = traffic_now_us();
	sent = run(&flood, start);
	printf("{\"sent\":%llu,\"seconds\":%.6f,\"cpu\":%.6f}\n", (unsigned long long)sent,
	       (double)(traffic_now_us() - start) / 1e6, processor_seconds() - busy);
	return 0;
}
