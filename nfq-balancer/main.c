/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/main.c - options, and the order in which things start
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/log.h"
#include "nfq-balancer/privileges.h"
#include "policy/config_print.h"

#define DEFAULT_FILE "/etc/nfq-balancer/nfq-balancer.conf"

enum print_what {
	PRINT_PEOPLE,
	PRINT_RULES,
};

struct options {
	const char *file;
	bool check; /* -n */
	enum print_what print;
	bool to_syslog;
	bool debug;
	int commit; /* -1: probe */
};

/* ---- options ---- */

static void usage(FILE *out)
{
	fputs("usage: nfq-balancer [-ds] [-c FILE] [--commit=verdict|chain]\n"
	      "       nfq-balancer -n [--print=rules] [-c FILE]\n"
	      "       nfq-balancer -h | -v\n"
	      "  -c, --config FILE  configuration (default " DEFAULT_FILE ")\n"
	      "  -n, --check        check the configuration and print what it means\n"
	      "      --print=rules  with -n: as records for nfq-balancer-rules\n"
	      "  -d, --debug        log more\n"
	      "  -s, --syslog       log to syslog instead of standard error\n"
	      "      --commit=PATH  write the conntrack mark with the verdict, or leave it to the\n"
	      "                     rules' commit chain (default: what the kernel can)\n"
	      "  -v, --version      print the version\n"
	      "  -h, --help         print this\n",
	      out);
}

static _Noreturn void usage_error(const char *what, const char *value)
{
	fprintf(stderr, "nfq-balancer: %s %s (try -h)\n", what, value);
	exit(2);
}

static int parse_commit(const char *value)
{
	if (!strcmp(value, "verdict"))
		return COMMIT_VERDICT;
	if (!strcmp(value, "chain"))
		return COMMIT_CHAIN;
	usage_error("--commit must be verdict or chain, not", value);
}

static struct options parse_options(int argc, char **argv)
{
	enum {
		OPTION_PRINT = 256,
		OPTION_COMMIT
	};
	static const struct option longs[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check", no_argument, NULL, 'n' },
		{ "print", required_argument, NULL, OPTION_PRINT },
		{ "debug", no_argument, NULL, 'd' },
		{ "syslog", no_argument, NULL, 's' },
		{ "commit", required_argument, NULL, OPTION_COMMIT },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options options = { .file = DEFAULT_FILE, .commit = -1 };
	int option;

	while ((option = getopt_long(argc, argv, "c:ndsvh", longs, NULL)) != -1) {
		switch (option) {
		case 'c':
			options.file = optarg;
			break;
		case 'n':
			options.check = true;
			break;
		case OPTION_PRINT:
			if (strcmp(optarg, "rules") != 0)
				usage_error("--print must be rules, not", optarg);
			options.print = PRINT_RULES;
			break;
		case 'd':
			options.debug = true;
			break;
		case 's':
			options.to_syslog = true;
			break;
		case OPTION_COMMIT:
			options.commit = parse_commit(optarg);
			break;
		case 'v':
			puts("nfq-balancer " NFQB_VERSION);
			exit(0);
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind < argc)
		usage_error("unexpected argument", argv[optind]);
	if (options.print != PRINT_PEOPLE && !options.check)
		usage_error("--print needs", "-n");
	return options;
}

/* ---- the two jobs ---- */

static void print_messages(const char *kind, const struct config_messages *messages)
{
	for (size_t i = 0; i < messages->n; i++)
		fprintf(stderr, "%s%s\n", kind, messages->text[i]);
}

static struct config *load(const struct options *options)
{
	struct config_messages errors = { NULL, 0 }, warnings = { NULL, 0 };
	struct config *config = config_load(options->file, &errors, &warnings);

	print_messages("", &errors);
	/* of use to people: at the daemon's start, and in the rules script's check */
	if (options->print == PRINT_PEOPLE)
		print_messages("warning: ", &warnings);
	config_messages_free(&errors);
	config_messages_free(&warnings);
	return config;
}

static int check(const struct options *options, struct config *config)
{
	if (options->print == PRINT_RULES)
		config_print_rules(stdout, config);
	else
		config_print(stdout, config);
	config_free(config);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	perror("nfq-balancer: standard output");
	return 1;
}

/* Everything up to the first packet. Root's work ends at privileges_drop(). */
static bool start(struct daemon *daemon, const struct options *options, struct config *config, char *error, size_t size)
{
	const char *user = config->user;

	if (!daemon_init(daemon, config, error, size))
		return false;
	if (!privileges_sufficient(error, size) ||
	    !privileges_directories(user, config->run_directory, config->state_directory, error, size))
		return false;
	daemon->control = control_open(daemon, error, size);
	if (!daemon->control)
		return false;
	if (!daemon_open_kernel(daemon, options->commit, error, size))
		return false;
	if (!privileges_drop(user, error, size))
		return false;
	return daemon_start(daemon, error, size);
}

static int serve(const struct options *options, struct config *config)
{
	static struct daemon daemon; /* a few hundred KiB: not for the stack */
	char error[512] = "";

	/* tables are large and mostly untouched: with pages of 2 MiB they would be resident (where the system gives
	 * these to everybody). A kernel without them says no, and nothing is lost. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	log_open(options->to_syslog, options->debug, config->log_level);
	bool started = start(&daemon, options, config, error, sizeof(error));

	if (started) {
		if (!daemon_file_readable(&daemon, error, sizeof(error)))
			log_warning("%s", error);
		daemon_run(&daemon);
	} else {
		log_error("%s", error);
	}
	daemon_stop(&daemon);
	daemon_free(&daemon);
	return started && !daemon.failed ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct options options = parse_options(argc, argv);
	struct config *config = load(&options);

	if (!config)
		return 1;
	return options.check ? check(&options, config) : serve(&options, config);
}
