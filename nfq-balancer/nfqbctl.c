/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/nfqbctl.c - the client of the control socket
 *
 * Sends its arguments as one line, prints the reply, and turns the reply's last line
 * into an exit status. Everything else is the daemon's: nothing here knows what a
 * command does, except that `help` can be answered without a daemon.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "nfq-balancer/control_commands.h"

#define DEFAULT_SOCKET "/run/nfq-balancer/control.sock"
#define LINE_MAX_BYTES 4096 /* what the daemon takes */

enum exit_status { /* of `status`, fit for a monitoring plugin: OK, WARN, FAIL, unknown */
	EXIT_OK = 0,
	EXIT_ERROR = 1, /* the daemon answered `error`; of `status`: WARN */
	EXIT_USAGE = 2, /* of `status`: FAIL */
	EXIT_NO_DAEMON = 3,
};

static void usage(FILE *out)
{
	fprintf(out, "usage: nfqbctl [-s SOCKET] [--json] [COMMAND [ARGUMENT...]]\n"
		     "       nfqbctl help, --help, --version\n");
}

#define PRINT_HELP(name, arguments, least, most, function, text) \
	printf("  %s%s%s\n        %s\n", name, *(arguments) ? " " : "", arguments, text);
static void help(void)
{
	usage(stdout);
	printf("  -s SOCKET  the daemon's socket (default: $NFQBCTL_SOCKET, or %s)\n"
	       "  --json     answers for programs; before or behind the command\n"
	       "\nCommands (without one: status):\n",
	       DEFAULT_SOCKET);
	CONTROL_COMMANDS(PRINT_HELP)
}
#undef PRINT_HELP

/* ---- the line to send ---- */

/* A word must stay one word on the other side */
static bool word_fits(const char *word)
{
	return *word && !word[strcspn(word, " \t\r\n")];
}

/* "json WORD WORD...\n", or NULL after a message */
static char *make_line(bool json, int argc, char **argv)
{
	static char line[LINE_MAX_BYTES + 2];
	size_t used = 0;

	if (json)
		used = (size_t)snprintf(line, sizeof(line), "json");
	for (int i = 0; i < argc; i++) {
		if (!word_fits(argv[i])) {
			fprintf(stderr, "nfqbctl: argument \"%s\": expected a word without white space\n", argv[i]);
			return NULL;
		}
		if (used + strlen(argv[i]) + 1 > LINE_MAX_BYTES) {
			fprintf(stderr, "nfqbctl: arguments too long: expected at most %d bytes\n", LINE_MAX_BYTES);
			return NULL;
		}
		used += (size_t)sprintf(line + used, "%s%s", used ? " " : "", argv[i]);
	}
	memcpy(line + used, "\n", 2);
	return line;
}

/* ---- the connection ---- */

static const char *what_to_do(int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return "; is the daemon running? start it with: systemctl start nfq-balancer";
	case EACCES:
	case EPERM:
		return "; only root and the members of socket-group may use it";
	default:
		return "";
	}
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		fprintf(stderr, "nfqbctl: %s: path too long for a socket\n", path);
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	fprintf(stderr, "nfqbctl: %s: %s%s\n", path, strerror(errno), what_to_do(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool send_line(int fd, const char *line)
{
	size_t left = strlen(line);

	while (left > 0) {
		ssize_t sent = send(fd, line, left, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		line += sent;
		left -= (size_t)sent;
	}
	/* the daemon closes when it has answered all there will be */
	return shutdown(fd, SHUT_WR) == 0;
}

/* ---- the reply ---- */

/* The verdict of `status` is the first word of its first line, in JSON its first value */
static enum exit_status first_line_status(const char *line)
{
	const char *json = "{\"status\":\"";

	if (strncmp(line, json, strlen(json)) == 0)
		line += strlen(json);
	if (strncmp(line, "WARN", 4) == 0)
		return EXIT_ERROR;
	return strncmp(line, "FAIL", 4) == 0 ? EXIT_USAGE : EXIT_OK;
}

/* The last line of a reply: true and `status` set */
static bool is_end(const char *line, enum exit_status *status)
{
	if (strcmp(line, "ok\n") == 0) {
		*status = EXIT_OK;
		return true;
	}
	if (strncmp(line, "error ", 6) != 0)
		return false;
	*status = EXIT_ERROR;
	return true;
}

static enum exit_status print_reply(FILE *in, bool is_status)
{
	enum exit_status verdict = EXIT_OK, status = EXIT_ERROR;
	bool ended = false, first = true;
	int error = 0; /* of standard output */
	char *line = NULL, *held = NULL;
	size_t size = 0;

	/* a line that could be the last is held back until it is known to be */
	while (getline(&line, &size, in) > 0) {
		if (held)
			fputs(held, stdout);
		free(held);
		held = NULL;
		if (first && is_status)
			verdict = first_line_status(line);
		first = false;
		ended = is_end(line, &status);
		if (ended)
			held = strdup(line);
		else
			fputs(line, stdout);
		if (fflush(stdout) != 0 && error == 0)
			error = errno;
	}
	free(line);
	if (!ended) {
		fprintf(stderr, "nfqbctl: the daemon closed the connection before its answer ended\n");
		status = EXIT_ERROR;
	} else if (status != EXIT_OK) {
		fprintf(stderr, "nfqbctl: %s", held);
	} else {
		status = verdict;
	}
	free(held);
	if (ferror(stdout)) {
		fprintf(stderr, "nfqbctl: standard output: %s\n", strerror(error));
		status = EXIT_ERROR;
	}
	return status;
}

static enum exit_status talk(const char *path, const char *line, bool is_status)
{
	int fd = connect_to(path);
	enum exit_status status;
	FILE *in;

	if (fd < 0)
		return EXIT_NO_DAEMON;
	/* a refused or full line still has an answer to read */
	send_line(fd, line);
	in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return EXIT_NO_DAEMON;
	}
	status = print_reply(in, is_status);
	fclose(in);
	return status;
}

/* ---- the command line ---- */

struct options {
	const char *socket;
	bool json, help, version;
	const char *wrong; /* option that is none, or lacks its value */
};

/* Options stand in front of the command; --json may also stand behind it. Returns the words left. */
static int parse_options(int argc, char **argv, struct options *options)
{
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "-s") == 0 && i + 1 < argc)
			options->socket = argv[++i];
		else if (strcmp(argv[i], "--json") == 0)
			options->json = true;
		else if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
			options->help = true;
		else if (strcmp(argv[i], "-V") == 0 || strcmp(argv[i], "--version") == 0)
			options->version = true;
		else if (!options->wrong)
			options->wrong = argv[i];
	}
	return i;
}

int main(int argc, char **argv)
{
	static char status_word[] = "status";
	static char *status_words[] = { status_word, NULL };
	struct options options = { .socket = getenv("NFQBCTL_SOCKET") };
	int first = parse_options(argc, argv, &options);
	const char *line;

	if (options.wrong) {
		fprintf(stderr, "nfqbctl: %s \"%s\"\n",
			strcmp(options.wrong, "-s") == 0 ? "no path behind" : "unknown option", options.wrong);
		usage(stderr);
		return EXIT_USAGE;
	}
	if (options.version) {
		printf("nfqbctl %s\n", NFQB_VERSION);
		return EXIT_OK;
	}
	if (options.help || (first + 1 == argc && !options.json && strcmp(argv[first], "help") == 0)) {
		help();
		return EXIT_OK;
	}
	if (!options.socket || !*options.socket)
		options.socket = DEFAULT_SOCKET;
	argc -= first;
	argv += first;
	if (argc > 0 && strcmp(argv[argc - 1], "--json") == 0) {
		options.json = true;
		argc--;
	}
	if (argc == 0) {
		argv = status_words;
		argc = 1;
	}
	line = make_line(options.json, argc, argv);
	if (!line)
		return EXIT_USAGE;
	return (int)talk(options.socket, line, strcmp(argv[0], "status") == 0);
}
