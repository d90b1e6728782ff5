/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_command.c - a line becomes a command
 *
 * One table (control_commands.h) for dispatch and help. Names may be two words;
 * `json COMMAND` or `COMMAND --json` asks for JSON.
 */
#include <stdio.h>
#include <string.h>

#include "nfq-balancer/control_private.h"

typedef void command_function(struct client *client, int argc, char **argv);

struct command {
	const char *name, *arguments;
	int least, most; /* words behind the name */
	command_function *run;
	const char *help;
};

#define COMMAND(name, arguments, least, most, function, help) { name, arguments, least, most, function, help },
static const struct command commands[] = { CONTROL_COMMANDS(COMMAND) };
#undef COMMAND

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* How many words of `argv` the command's name takes; 0 when they are not its name */
static int name_words(const struct command *command, int argc, char **argv)
{
	const char *name = command->name;
	int n = 0;

	while (n < argc) {
		size_t len = strcspn(name, " ");

		if (strlen(argv[n]) != len || memcmp(argv[n], name, len) != 0)
			return 0;
		n++;
		if (name[len] == '\0')
			return n;
		name += len + 1;
	}
	return 0;
}

/* Is `word` the first word of this command's name? */
static bool starts_with(const struct command *command, const char *word)
{
	size_t len = strlen(word);

	return strncmp(command->name, word, len) == 0 && (command->name[len] == ' ' || command->name[len] == '\0');
}

/* "show": there are such commands, but not this one */
static void reply_no_command(struct client *client, int argc, char **argv)
{
	const char *separator = " expected";
	bool any = false;

	for (size_t i = 0; i < N_COMMANDS; i++)
		any |= starts_with(&commands[i], argv[0]);
	if (!any) {
		reply_error(client, "unknown command %s: try help", reply_quote(argv[0]));
		return;
	}
	reply(client, "error %s %s:", argv[0], argc > 1 ? reply_quote(argv[1]) : "alone is no command");
	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (!starts_with(&commands[i], argv[0]))
			continue;
		reply(client, "%s %s", separator, commands[i].name);
		separator = ",";
	}
	reply(client, "\n");
}

/* Take `json` in front or `--json` behind. Returns the words left. */
static int take_json(struct client *client, int argc, char ***argv)
{
	client->json = false;
	if (argc > 1 && strcmp((*argv)[0], "json") == 0) {
		client->json = true;
		(*argv)++;
		argc--;
	}
	if (argc > 1 && strcmp((*argv)[argc - 1], "--json") == 0) {
		client->json = true;
		argc--;
	}
	return argc;
}

static void run(struct client *client, int argc, char **argv)
{
	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command *command = &commands[i];
		int words = name_words(command, argc, argv);

		if (words == 0)
			continue;
		if (argc - words < command->least || argc - words > command->most) {
			reply_error(client, "%s: %d argument%s, expected: %s%s%s", command->name, argc - words,
				    argc - words == 1 ? "" : "s", command->name, *command->arguments ? " " : "",
				    command->arguments);
			return;
		}
		command->run(client, argc - words, argv + words);
		return;
	}
	reply_no_command(client, argc, argv);
}

void control_command(struct client *client, char *line, size_t len)
{
	char *words[CONTROL_MAX_WORDS], **argv = words, *rest = line, *word;
	int argc = 0;

	if (strlen(line) != len) {
		reply_error(client, "a zero byte in the line: expected text");
		return;
	}
	while ((word = strsep(&rest, " \t"))) {
		if (*word == '\0')
			continue;
		if (argc == CONTROL_MAX_WORDS) {
			reply_error(client, "more than %d words: expected a command, try help", CONTROL_MAX_WORDS);
			return;
		}
		words[argc++] = word;
	}
	argc = take_json(client, argc, &argv);
	if (argc > 0)
		run(client, argc, argv);
}

/* ---- the commands about the connection itself ---- */

void control_help(struct client *client, int argc, char **argv)
{
	json_t *list = json_array();
	unsigned found = 0;

	for (size_t i = 0; i < N_COMMANDS; i++) {
		const struct command *command = &commands[i];

		if (argc > 0 && !starts_with(command, argv[0]) && !name_words(command, argc, argv))
			continue;
		if (argc > 1 && !name_words(command, argc, argv))
			continue;
		found++;
		if (client->json)
			json_array_append_new(list, json_pack("{ssssss}", "command", command->name, "arguments",
							      command->arguments, "help", command->help));
		else
			reply(client, "%s%s%s\n\t%s\n", command->name, *command->arguments ? " " : "",
			      command->arguments, command->help);
	}
	if (found == 0) {
		json_decref(list);
		reply_error(client, "no command starts with %s: try help", reply_quote(argv[0]));
		return;
	}
	if (client->json) {
		reply_json(client, json_pack("{so}", "commands", list));
	} else {
		json_decref(list);
		if (argc == 0)
			reply(client, "json COMMAND, or COMMAND --json\n\tthe same as JSON\n");
	}
	reply_ok(client);
}

void control_quit(struct client *client, int argc, char **argv)
{
	(void)argc;
	(void)argv;
	reply_ok(client);
	client->closing = true;
}
