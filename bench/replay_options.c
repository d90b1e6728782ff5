/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/replay_options.c - the command line of bench/replay
 */
#include "bench/replay.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"Usage: nfqb-replay [OPTION]... CONFIG CAPTURE\n"
	"       nfqb-replay [OPTION]... --flows CAPTURE\n"
	"What nfq-balancer would decide for every new flow of a capture (\"-\": standard input).\n"
	"\n"
	"  --lan NET            only flows from NET to elsewhere are steered (repeat for more)\n"
	"  --router ADDR        flows from ADDR are the router's own (repeat)\n"
	"  --interface NAME     the interface that every packet came in by\n"
	"  --down LINK          this link is down (repeat)\n"
	"  --delay MS           a verdict takes this long; packets of the flow meanwhile are decided too\n"
	"  --timeout NAME=S     idle time after which a tuple is a new flow: tcp, tcp-new, tcp-closed,\n"
	"                       udp, udp-stream, icmp, sctp, other (repeat)\n"
	"  --seed N             of the hash key (default 0)\n"
	"  -n N                 stop after N packets\n"
	"  --flows              list the flows, decide nothing\n"
	"  --simulate MODE      trace: the capture's flows on links of the configured capacity;\n"
	"                       resample: flows drawn from its sizes, Poisson arrivals\n"
	"  --draw N             resample: this many flows (default 30000)\n"
	"  --load PERCENT       resample: of the links' total capacity (default 85)\n"
	"  --seeds N            resample: mean over this many seeds (default 1)\n"
	"  --event-delay MS     until a flow's end is known to the scheduler (default 10)\n"
	"  --learn-lifetimes    datagrams have no end: count them for their class's learnt lifetime\n"
	"  --idle-share PERCENT of the TCP flows stay open after their last byte (default 0),\n"
	"  --idle-time MS       for so long (default 10000)\n"
	"  --series FILE        what each link did each second, for each scheduler, as a table\n"
	"  --json               JSON, one object per line\n"
	"  -q, --quiet          decisions only: no heading, no summary\n"
	"  -h, --help           this text\n"
	"  -v, --version        the version\n";

enum long_option {
	OPT_LAN = 256,
	OPT_ROUTER,
	OPT_INTERFACE,
	OPT_DOWN,
	OPT_DELAY,
	OPT_TIMEOUT,
	OPT_SEED,
	OPT_FLOWS,
	OPT_JSON,
	OPT_SIMULATE,
	OPT_DRAW,
	OPT_LOAD,
	OPT_SEEDS,
	OPT_EVENT_DELAY,
	OPT_LEARN,
	OPT_IDLE_SHARE,
	OPT_IDLE_TIME,
	OPT_SERIES,
};

static const struct option long_options[] = {
	{ "lan", required_argument, NULL, OPT_LAN },
	{ "router", required_argument, NULL, OPT_ROUTER },
	{ "interface", required_argument, NULL, OPT_INTERFACE },
	{ "down", required_argument, NULL, OPT_DOWN },
	{ "delay", required_argument, NULL, OPT_DELAY },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "flows", no_argument, NULL, OPT_FLOWS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "simulate", required_argument, NULL, OPT_SIMULATE },
	{ "draw", required_argument, NULL, OPT_DRAW },
	{ "load", required_argument, NULL, OPT_LOAD },
	{ "seeds", required_argument, NULL, OPT_SEEDS },
	{ "event-delay", required_argument, NULL, OPT_EVENT_DELAY },
	{ "learn-lifetimes", no_argument, NULL, OPT_LEARN },
	{ "idle-share", required_argument, NULL, OPT_IDLE_SHARE },
	{ "idle-time", required_argument, NULL, OPT_IDLE_TIME },
	{ "series", required_argument, NULL, OPT_SERIES },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static bool complain(const char *option, const char *value, const char *expected)
{
	fprintf(stderr, "nfqb-replay: %s: \"%s\" is wrong, expected %s\n", option, value, expected);
	return false;
}

static bool parse_number(const char *option, const char *text, uint64_t max, uint64_t *out)
{
	char *end = NULL;

	if (*text < '0' || *text > '9')
		return complain(option, text, "a number");
	*out = strtoull(text, &end, 10);
	if (*end || *out > max)
		return complain(option, text, "a number that is not that large");
	return true;
}

static bool parse_ms(const char *option, const char *text, double *out)
{
	char *end = NULL;

	if (*text < '0' || *text > '9')
		return complain(option, text, "milliseconds");
	*out = strtod(text, &end);
	if (*end || !(*out <= 3600000))
		return complain(option, text, "milliseconds, an hour at most");
	return true;
}

/* The next free place of a list, or -1 after a message */
static int list_next(const char *option, unsigned *n)
{
	if (*n == REPLAY_MAX_LIST) {
		fprintf(stderr, "nfqb-replay: %s: more than %d times\n", option, REPLAY_MAX_LIST);
		return -1;
	}
	return (int)(*n)++;
}

static bool add_text(const char *option, const char *list[], unsigned *n, const char *text)
{
	int i = list_next(option, n);

	if (i < 0)
		return false;
	list[i] = text;
	return true;
}

static bool add_lan(struct replay_options *options, const char *text)
{
	int i = list_next("--lan", &options->n_lan);

	if (i < 0)
		return false;
	return flow_net_parse(text, &options->lan[i]) || complain("--lan", text, "a network without host bits");
}

static bool add_router(struct replay_options *options, const char *text)
{
	int i = list_next("--router", &options->n_router);

	if (i < 0)
		return false;
	return flow_addr_parse(text, &options->router[i]) || complain("--router", text, "an address");
}

static bool parse_simulation(struct replay_options *options, const char *text)
{
	if (!strcmp(text, "trace"))
		options->simulation = SIMULATE_TRACE;
	else if (!strcmp(text, "resample"))
		options->simulation = SIMULATE_RESAMPLE;
	else
		return complain("--simulate", text, "trace or resample");
	return true;
}

static bool parse_simulated(struct replay_options *options, int option)
{
	switch (option) {
	case OPT_SIMULATE:
		return parse_simulation(options, optarg);
	case OPT_DRAW:
		return parse_number("--draw", optarg, 10000000, &options->sim_flows);
	case OPT_LOAD:
		return parse_number("--load", optarg, 99, &options->sim_load);
	case OPT_SEEDS:
		return parse_number("--seeds", optarg, 1000, &options->sim_seeds);
	case OPT_EVENT_DELAY:
		return parse_ms("--event-delay", optarg, &options->sim_delay);
	case OPT_LEARN:
		options->sim_learn = true;
		return true;
	case OPT_IDLE_SHARE:
		return parse_number("--idle-share", optarg, 100, &options->sim_idle_share);
	case OPT_IDLE_TIME:
		return parse_number("--idle-time", optarg, 3600000, &options->sim_idle_time);
	case OPT_SERIES:
		options->sim_series = optarg;
		return true;
	default: /* getopt_long() has said what is wrong */
		return false;
	}
}

static bool parse_one(struct replay_options *options, int option)
{
	switch (option) {
	case OPT_LAN:
		return add_lan(options, optarg);
	case OPT_ROUTER:
		return add_router(options, optarg);
	case OPT_INTERFACE:
		options->interface = optarg;
		return true;
	case OPT_DOWN:
		return add_text("--down", options->down, &options->n_down, optarg);
	case OPT_DELAY:
		return parse_number("--delay", optarg, 3600000, &options->delay);
	case OPT_TIMEOUT:
		return add_text("--timeout", options->timeouts, &options->n_timeouts, optarg);
	case OPT_SEED:
		return parse_number("--seed", optarg, UINT64_MAX, &options->seed);
	case OPT_FLOWS:
		options->list_flows = true;
		return true;
	case OPT_JSON:
		options->json = true;
		return true;
	case 'n':
		return parse_number("-n", optarg, UINT64_MAX, &options->limit);
	case 'q':
		options->quiet = true;
		return true;
	case 'h':
		fputs(usage, stdout);
		exit(EXIT_SUCCESS);
	case 'v':
		puts("nfqb-replay (nfq-balancer) " NFQB_VERSION);
		exit(EXIT_SUCCESS);
	default:
		return parse_simulated(options, option);
	}
}

bool replay_options_parse(struct replay_options *options, int argc, char **argv)
{
	int option;
	int arguments;

	options->sim_flows = 30000;
	options->sim_seeds = 1;
	options->sim_load = 85;
	options->sim_delay = 10;
	options->sim_idle_time = 10000;
	while ((option = getopt_long(argc, argv, "n:qhv", long_options, NULL)) != -1) {
		if (!parse_one(options, option))
			return false;
	}
	arguments = argc - optind;
	if (arguments != (options->list_flows ? 1 : 2)) {
		fprintf(stderr, "nfqb-replay: expected %s (see nfqb-replay --help)\n",
			options->list_flows ? "a capture" : "a configuration and a capture");
		return false;
	}
	options->config = options->list_flows ? NULL : argv[optind];
	options->capture = argv[argc - 1];
	return true;
}
