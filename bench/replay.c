/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay.c - a capture through the production decision path
 *
 * capture (libpcap) -> link_strip() -> decode_packet() -> flow table -> decide().
 * The last three steps are those of the daemon; that this program links without
 * any netfilter library is the proof that they are pure. Time is the capture's,
 * the hash key comes from the seed: same capture, configuration and options, same
 * bytes out.
 */
#include "bench/replay.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/config_file.h"

#define START_MS UINT64_C(3600000) /* the clock's first reading: far from 0, which tables take for "never" */
#define RECENT_LOG2 12

struct replay {
	struct replay_options options;
	struct policy *policy;
	const struct config *config; /* the policy's */
	struct link_runtime runtime;
	struct decider decider;
	struct load load; /* nothing says here when a flow ends: a count of decisions */
	struct flow_table *flows;
	struct replay_counts counts;
	int64_t first_us; /* time of the first packet */
	uint64_t now; /* ms, never goes back */
};

/* ---- setting up ---- */

static void print_messages(const struct config_messages *messages, const char *kind)
{
	for (size_t i = 0; i < messages->n; i++)
		fprintf(stderr, "nfqb-replay: %s%s\n", kind, messages->text[i]);
}

static struct config *load_config(const char *path)
{
	struct config_messages errors = { 0 }, warnings = { 0 };
	struct config *config = config_load(path, &errors, &warnings);

	print_messages(&errors, "");
	print_messages(&warnings, "warning: ");
	config_messages_free(&errors);
	config_messages_free(&warnings);
	return config;
}

static bool take_links_down(struct replay *replay)
{
	uint64_t usable = link_runtime_usable(&replay->runtime, 4);

	for (unsigned i = 0; i < replay->options.n_down; i++) {
		int link = config_link_by_name(replay->config, replay->options.down[i]);

		if (link < 0) {
			fprintf(stderr, "nfqb-replay: --down: no link \"%s\" in %s\n", replay->options.down[i],
				replay->options.config);
			return false;
		}
		usable &= ~(UINT64_C(1) << link);
	}
	link_runtime_set_usable(&replay->runtime, 4, usable);
	link_runtime_set_usable(&replay->runtime, 6, usable);
	return true;
}

static bool open_policy(struct replay *replay)
{
	struct config *config = load_config(replay->options.config);

	if (!config)
		return false;
	link_runtime_init(&replay->runtime, config);
	replay->policy = policy_compile(config);
	if (replay->policy) {
		replay->config = policy_config(replay->policy);
		replay->load.workers = 1;
		replay->decider = (struct decider){
			.policy = replay->policy,
			.runtime = &replay->runtime,
			.sticky = sticky_new(replay->config->sticky_entries),
			.sched = calloc(1, sizeof(*replay->decider.sched)),
			.recent = recent_new(RECENT_LOG2),
			.load = &replay->load,
			.key = { replay->options.seed, ~replay->options.seed },
		};
	}
	if (!replay->policy || !replay->decider.sticky || !replay->decider.sched || !replay->decider.recent) {
		fputs("nfqb-replay: out of memory\n", stderr);
		return false;
	}
	return take_links_down(replay);
}

static bool open_flows(struct replay *replay)
{
	replay->flows = flow_table_new();
	if (!replay->flows) {
		fputs("nfqb-replay: out of memory\n", stderr);
		return false;
	}
	if (replay->options.list_flows)
		flow_table_keep(replay->flows);
	for (unsigned i = 0; i < replay->options.n_timeouts; i++) {
		if (!flow_table_set_timeout(replay->flows, replay->options.timeouts[i])) {
			fprintf(stderr,
				"nfqb-replay: --timeout: \"%s\" is wrong, expected NAME=SECONDS, as in udp=60\n",
				replay->options.timeouts[i]);
			return false;
		}
	}
	return true;
}

static void close_all(struct replay *replay)
{
	flow_table_free(replay->flows);
	recent_free(replay->decider.recent);
	free(replay->decider.sched);
	sticky_free(replay->decider.sticky);
	policy_free(replay->policy);
}

/* ---- what the kernel would keep from the queue ---- */

/* Requests begin a flow; errors belong to the flow they report, answers to the request's */
static bool icmp_begins_flow(const struct flow *flow, uint8_t type)
{
	if (flow->protocol == IPPROTO_ICMP && flow->family == 4)
		return type == 8 || type == 13 || type == 15 || type == 17;
	if (flow->protocol == IPPROTO_ICMPV6 && flow->family == 6)
		return type == 128 || type == 139;
	return true;
}

/* Can a router forward to or from this address? */
static bool addr_forwarded(const struct flow_addr *addr, uint8_t family)
{
	const uint8_t *b = addr->b;

	if (family == 4)
		return b[12] != 0 && b[12] != 127 && b[12] < 224 && !(b[12] == 169 && b[13] == 254);
	if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80))
		return false;
	for (unsigned i = 0; i < 15; i++) {
		if (b[i])
			return true;
	}
	return b[15] > 1; /* neither :: nor ::1 */
}

static bool in_lan(const struct replay_options *options, const struct flow_addr *addr)
{
	for (unsigned i = 0; i < options->n_lan; i++) {
		if (flow_net_contains(&options->lan[i], addr))
			return true;
	}
	return false;
}

static bool from_router(const struct replay_options *options, const struct flow *flow)
{
	for (unsigned i = 0; i < options->n_router; i++) {
		if (memcmp(&options->router[i], &flow->src, sizeof(flow->src)) == 0)
			return true;
	}
	return false;
}

static bool leads_outside(const struct replay_options *options, const struct flow *flow)
{
	if (!options->n_lan || from_router(options, flow))
		return true;
	return in_lan(options, &flow->src) && !in_lan(options, &flow->dst);
}

/* ---- one packet ---- */

static void decide_flow(struct replay *replay, struct seen_flow *seen, const struct flow *flow, int64_t time_us)
{
	struct flow_meta meta = {
		.iface = replay->options.interface ? policy_iface_slot(replay->policy, replay->options.interface) : 0,
		.from_router = from_router(&replay->options, flow),
	};
	struct decision decision = decide(&replay->decider, flow, &meta, replay->now);

	if (!seen->decided) {
		seen->decided = true;
		seen->decided_at = replay->now;
		seen->link = decision.link;
		replay->counts.action[decision.action]++;
		if (decision.link >= 0)
			replay->counts.link_flows[decision.link]++;
	}
	replay_print_decision(&replay->options, replay->config, time_us, flow, &decision);
}

static bool see_packet(struct replay *replay, const struct flow *flow, uint8_t tcp_flags, size_t size, int64_t time_us)
{
	bool back;
	struct seen_flow *seen = flow_table_see(replay->flows, flow, tcp_flags, replay->now, &back);
	bool first;

	if (!seen) {
		fputs("nfqb-replay: out of memory\n", stderr);
		return false;
	}
	first = seen->packets[0] + seen->packets[1] == 1;
	replay->counts.flows += first;
	seen->bytes += size;
	if (first)
		seen->outbound = leads_outside(&replay->options, flow);
	if (replay->options.list_flows || replay->options.simulation)
		return true;
	if (first && !seen->outbound)
		replay->counts.inbound++;
	else if (first || (seen->decided && !back && replay->now - seen->decided_at < replay->options.delay))
		decide_flow(replay, seen, flow, time_us);
	if (seen->link >= 0) {
		replay->counts.link_packets[seen->link]++;
		replay->counts.link_bytes[seen->link] += size;
	}
	return true;
}

/* Bytes of the transport header that matter beside the ports; 0 where there is none */
static uint8_t transport_byte(const struct link_payload *ip, size_t at)
{
	return at < ip->len ? ip->bytes[at] : 0;
}

/* Bytes of IP on the wire: the frame's less what stood before. A malformed capture may state less than it holds. */
static size_t wire_size(const struct pcap_pkthdr *header, const struct link_payload *ip)
{
	size_t before = header->caplen - ip->len;

	return header->len > before ? header->len - before : 0;
}

/* Returns false when the program cannot go on */
static bool replay_packet(struct replay *replay, const struct pcap_pkthdr *header, const uint8_t *bytes, int linktype,
			  int64_t time_us)
{
	struct link_payload ip;
	enum link_result stripped = link_strip(bytes, header->caplen, linktype, &ip);
	enum decode_result decoded;
	struct flow flow;
	size_t transport;
	uint8_t tcp_flags;

	replay->counts.packets++;
	replay->counts.link[stripped]++;
	if (stripped != LINK_OK)
		return true;
	decoded = decode_packet_transport(ip.bytes, ip.len, &flow, &transport);
	replay->counts.decode[decoded]++;
	if (decoded != DECODE_OK)
		return true;
	if (!icmp_begins_flow(&flow, transport_byte(&ip, transport))) {
		replay->counts.skipped[SKIP_CONTROL]++;
		return true;
	}
	if (!replay->options.list_flows &&
	    (!addr_forwarded(&flow.src, flow.family) || !addr_forwarded(&flow.dst, flow.family))) {
		replay->counts.skipped[SKIP_LOCAL]++;
		return true;
	}
	tcp_flags = flow.protocol == IPPROTO_TCP ? transport_byte(&ip, transport + 13) : 0;
	return see_packet(replay, &flow, tcp_flags, wire_size(header, &ip), time_us);
}

/* ---- the capture ---- */

static void advance_clock(struct replay *replay, int64_t time_us)
{
	uint64_t now;

	if (replay->counts.packets == 0)
		replay->first_us = time_us;
	now = time_us > replay->first_us ? START_MS + (uint64_t)(time_us - replay->first_us) / 1000 : START_MS;
	if (now > replay->now)
		replay->now = now;
}

/* Returns true when the whole file was read */
static bool replay_capture(struct replay *replay, pcap_t *capture)
{
	const struct replay_options *options = &replay->options;
	struct pcap_pkthdr *header;
	const uint8_t *bytes;
	int linktype = pcap_datalink(capture);
	int result = PCAP_ERROR_BREAK;

	while ((!options->limit || replay->counts.packets < options->limit) &&
	       (result = pcap_next_ex(capture, &header, &bytes)) == 1) {
		int64_t time_us = (int64_t)header->ts.tv_sec * 1000000 + header->ts.tv_usec;

		advance_clock(replay, time_us);
		if (!replay_packet(replay, header, bytes, linktype, time_us))
			return false;
	}
	if (result != PCAP_ERROR)
		return true;
	fflush(stdout);
	fprintf(stderr, "nfqb-replay: %s: packet %" PRIu64 ": %s\n", options->capture, replay->counts.packets + 1,
		pcap_geterr(capture));
	return false;
}

static pcap_t *open_capture(const char *path)
{
	char error[PCAP_ERRBUF_SIZE] = "";
	pcap_t *capture = pcap_open_offline(path, error);
	const char *name;

	if (!capture) {
		fprintf(stderr, "nfqb-replay: %s: %s\n", path, error);
		return NULL;
	}
	if (link_supported(pcap_datalink(capture)))
		return capture;
	name = pcap_datalink_val_to_name(pcap_datalink(capture));
	fprintf(stderr, "nfqb-replay: %s: link type %s (%d) is not supported\n", path, name ? name : "unknown",
		pcap_datalink(capture));
	pcap_close(capture);
	return NULL;
}

static bool run(struct replay *replay)
{
	pcap_t *capture;
	bool good;

	if (!open_flows(replay) || (!replay->options.list_flows && !open_policy(replay)))
		return false;
	capture = open_capture(replay->options.capture);
	if (!capture)
		return false;
	if (!replay->options.simulation)
		replay_print_header(&replay->options);
	good = replay_capture(replay, capture);
	if (replay->options.simulation)
		good &= replay_simulate(&replay->options, replay->policy, replay->flows);
	else if (replay->options.list_flows)
		replay_print_flows(&replay->options, replay->flows);
	else
		replay_print_summary(&replay->options, replay->config, &replay->runtime, &replay->counts);
	pcap_close(capture);
	return good;
}

int main(int argc, char **argv)
{
	static struct replay replay;
	bool good;

	if (!replay_options_parse(&replay.options, argc, argv))
		return 2;
	good = run(&replay);
	close_all(&replay);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("nfqb-replay: standard output");
		return EXIT_FAILURE;
	}
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
