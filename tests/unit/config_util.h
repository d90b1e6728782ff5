/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/config_util.h - what the tests of the configuration share
 *
 * The tests work in a directory of their own and name files relative to it, so
 * that messages can be compared whole.
 */
#ifndef TESTS_UNIT_CONFIG_UTIL_H
#define TESTS_UNIT_CONFIG_UTIL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "policy/config_file.h"
#include "policy/config_print.h"

#define UTIL __attribute__((unused)) static

/* Beginnings and ends of small configurations; one line each */
#define LAN "lan = \"lan0\"\n"
#define LINK_A "link \"a\" { id = 1  interface = \"wan0\" }\n"
#define LINK_B "link \"b\" { id = 2  interface = \"wan1\" }\n"
#define GROUP "group \"all\" { links = { \"a\", \"b\" } }\n"
#define REST "rule \"rest\" { use = \"all\" }\n"
#define BASE LAN LINK_A LINK_B GROUP

static char test_directory[] = "/tmp/nfqb-config-XXXXXX";

UTIL int directory_enter(void **state)
{
	(void)state;
	return mkdtemp(test_directory) == NULL ? -1 : chdir(test_directory);
}

UTIL int directory_leave(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", test_directory);
	return chdir("/") != 0 || system(command) != 0;
}

UTIL void write_file_bytes(const char *name, const char *bytes, size_t length)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

UTIL void write_file(const char *name, const char *text)
{
	write_file_bytes(name, text, strlen(text));
}

/* Messages as one text, each ended by a newline; to be freed */
UTIL char *messages_join(struct config_messages *messages)
{
	size_t length = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	for (size_t i = 0; i < messages->n; i++)
		fprintf(out, "%s\n", messages->text[i]);
	fclose(out);
	config_messages_free(messages);
	return text;
}

/* Load a file and compare all that is said about it. NULL when it is refused. */
UTIL struct config *load_file(const char *name, const char *errors, const char *warnings)
{
	struct config_messages wrong = { 0 }, odd = { 0 };
	struct config *config = config_load(name, &wrong, &odd);
	char *wrong_text = messages_join(&wrong);
	char *odd_text = messages_join(&odd);

	assert_string_equal(wrong_text, errors);
	if (warnings != NULL)
		assert_string_equal(odd_text, warnings);
	assert_true((config == NULL) == (errors[0] != '\0'));
	free(wrong_text);
	free(odd_text);
	return config;
}

/* Load a text that must be good and free of warnings */
UTIL struct config *load_text(const char *text)
{
	write_file("t.conf", text);
	return load_file("t.conf", "", "");
}

/* The key under test in its place within a configuration that is good otherwise */
#define LINK_WITH(keys) LAN "link \"a\" { id = 1  interface = \"wan0\"  " keys " }\nrule \"rest\" { use = \"a\" }\n"
#define TOP(keys) keys "\n" BASE REST
#define RULE_WITH(keys) BASE "rule \"x\" { " keys "  use = \"all\" }\n" REST
#define GROUP_WITH(keys) LAN LINK_A LINK_B "group \"all\" { " keys " }\n" REST

struct bad_case {
	const char *name, *text, *errors;
};

/* Every text is refused with exactly these messages */
UTIL void check_cases(const struct bad_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		print_message("  %s\n", cases[i].name);
		write_file("t.conf", cases[i].text);
		assert_null(load_file("t.conf", cases[i].errors, NULL));
	}
}

#endif
