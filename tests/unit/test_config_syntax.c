/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors of the grammar: the first one alone, with its file and line */
#include <sys/stat.h>

#include "config_util.h"

static const struct bad_case cases[] = {
	{ "unknown key", LINK_WITH("wieght = 2"),
	  "t.conf:2: link \"a\": unknown key \"wieght\", did you mean \"weight\"?\n" },
	{ "unknown key top", TOP("lam = \"x\""), "t.conf:1: unknown key \"lam\", did you mean \"lan\"?\n" },
	{ "unknown far", TOP("quux = 1"), "t.conf:1: unknown key \"quux\", did you mean \"queue\"?\n" },
	{ "unknown section", TOP("lnik \"x\" { }"), "t.conf:1: unknown key \"lnik\", did you mean \"link\"?\n" },
	{ "include in section", LINK_WITH("include(\"x\")"),
	  "t.conf:2: link \"a\": include stands outside of sections only\n" },
	{ "open string", TOP("user = \"abc"), "t.conf:1: a string is not closed on its line, expected \"\n" },
	{ "open comment", TOP("/* foo"), "t.conf:1: a comment is opened here and never closed, expected */\n" },
	{ "env", TOP("user = \"${HOME}\""),
	  "t.conf:1: \"${\": variables of the environment are not read, expected the value itself\n" },
	{ "env2", TOP("user = ${HOME}"),
	  "t.conf:1: \"${\": variables of the environment are not read, expected the value itself\n" },
	{ "star", TOP("lan = eth*"), "t.conf:1: unexpected '*' outside of quotes\n" },
	{ "brace", BASE REST "}", "t.conf:6: unexpected '}', expected a key\n" },
	{ "missing brace",
	  LAN LINK_A "link \"b\" {\n"
		     " id = 2\n",
	  "t.conf:3: '{' is opened here and never closed, expected '}'\n" },
	{ "no equal", TOP("mask 5"), "t.conf:1: no '=' after \"mask\"\n" },
	{ "append", TOP("mask += 5"), "t.conf:1: '+=' after \"mask\", which is no list, expected '='\n" },
	{ "no title", TOP("link { }"), "t.conf:1: no name after \"link\", expected \"NAME\" { ... }\n" },
	{ "no brace", TOP("link \"x\" id"), "t.conf:1: no '{' after the name of a \"link\", expected NAME { ... }\n" },
	{ "no value", TOP("mask = }"),
	  "t.conf:1: unexpected \"}\", expected a key or value, or after a list's value ',' or '}'\n" },
	{ "list", TOP("lan = { \"a\" \"b\" }"),
	  "t.conf:1: unexpected \"b\", expected a key or value, or after a list's value ',' or '}'\n" },
	{ "list end", TOP("lan = { \"a\",\n"),
	  "t.conf:3: unexpected \"=\", expected a key or value, or after a list's value ',' or '}'\n" },
	{ "include args", TOP("include(\"a\",\"b\")"), "t.conf:1: wrong arguments, expected include(\"FILE\")\n" },
	{ "include nothing", TOP("include()"), "t.conf:1: wrong arguments, expected include(\"FILE\")\n" },
	{ "include word", TOP("include(a)"), "t.conf:1: wrong arguments, expected include(\"FILE\")\n" },
	{ "include open", BASE REST "include(\"a\"", "t.conf:6: wrong arguments, expected include(\"FILE\")\n" },
	{ "include missing", TOP("include(\"nowhere.conf\")"),
	  "t.conf:1: include \"nowhere.conf\": No such file or directory\n" },
	{ "include paren", TOP("include \"x\""), "t.conf:1: no '(' after \"include\", expected include(\"FILE\")\n" },
	{ "include self", "include(\"t.conf\")\n",
	  "t.conf:1: include \"t.conf\": more than 16 files deep, expected fewer: does it include itself?\n" },
	{ "include open", "include(\"open.inc\")\n",
	  "open.inc:4: '{' is opened here and never closed, expected '}'\n" },
	{ "unit apart", "link \"a\" { id = 1\n download = 100 Mbit }\n",
	  "t.conf:2: link \"a\": unexpected \"Mbit\", expected it behind its number without a space, or both in quotes\n" },
	{ "unit apart", "link \"a\" { id = 1\n download = 100 bit/s }\n",
	  "t.conf:2: link \"a\": unexpected \"bit/s\", expected it behind its number without a space, or both in quotes\n" },
};

static void syntax_errors(void **state)
{
	(void)state;
	write_file("open.inc", "\n# c\n\nlink \"a\" {\n id = 1\n");
	check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

/* The first mistake in the file is the one reported, whatever else is wrong before or after */
static void first_alone(void **state)
{
	(void)state;
	write_file("t.conf", LINK_A LINK_A "mask = 0\nfoo-bar = 2\nlam = 3\n");
	assert_null(load_file("t.conf", "t.conf:4: unknown key \"foo-bar\", see nfq-balancer.conf(5)\n", NULL));
}

/* libconfuse's scanner keeps state in globals: a syntax error, also one within an
 * included file, must leave nothing behind. Its own include() breaks at the tenth. */
static void recovers(void **state)
{
	(void)state;
	write_file("broken.inc", "# one\nlink \"b\" { id = 2 = }\n");
	write_file("good.inc", LINK_B);
	for (unsigned i = 0; i < 30; i++) {
		write_file("t.conf", LAN "include(\"broken.inc\")\n");
		assert_null(load_file("t.conf",
				      "broken.inc:2: link \"b\": unexpected \"=\", expected a key or value, or after a "
				      "list's value ',' or '}'\n",
				      NULL));
		write_file("t.conf", LAN "user = \"open\n");
		assert_null(load_file("t.conf", "t.conf:2: a string is not closed on its line, expected \"\n", NULL));
		write_file("t.conf", LAN LINK_A "include(\"good.inc\")\n" GROUP REST);
		config_free(load_file("t.conf", "", ""));
	}
}

static void bytes(void **state)
{
	static const char nul[] = LAN "user = \"a\0b\"\n";
	static const char escape[] = LAN "\n\033[1m\n";

	(void)state;
	write_file_bytes("t.conf", nul, sizeof(nul) - 1);
	assert_null(load_file("t.conf", "t.conf:2: byte 0x00, expected text\n", NULL));
	write_file("t.conf", escape);
	assert_null(load_file("t.conf", "t.conf:3: byte 0x1b, expected text\n", NULL));
}

static void files(void **state)
{
	(void)state;
	assert_null(load_file("absent.conf", "absent.conf: No such file or directory\n", NULL));
	assert_null(load_file(".", ".: not a regular file\n", NULL));
	assert_null(load_file("/dev/zero", "/dev/zero: not a regular file\n", NULL));
	assert_int_equal(mkfifo("pipe", 0600), 0);
	assert_null(load_file("pipe", "pipe: not a regular file\n", NULL));
	assert_int_equal(truncate("t.conf", 2 << 20), 0);
	assert_null(load_file("t.conf", "t.conf: File too large\n", NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(syntax_errors), cmocka_unit_test(first_alone), cmocka_unit_test(recovers),
		cmocka_unit_test(bytes),	 cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
