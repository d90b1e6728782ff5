/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several files: includes and port lists, their paths, lines and checksum */
#include <sys/stat.h>

#include "config_util.h"

static void make_files(void)
{
	mkdir("sub", 0755);
	write_file("main.conf", "# one\n" LAN "/* three\n   four */\ninclude(\"sub/links.conf\") # five\n" GROUP
				"include(\"sub/rules.conf\")\nrule \"rest\" {\n  use = \"all\"\n}\n");
	write_file("sub/links.conf", "// one\n" LINK_A "\ninclude(\"more.conf\")\n# five\n");
	write_file("sub/more.conf", "\n" LINK_B);
	write_file("sub/rules.conf",
		   "rule \"web\" {\n  destination-port-file = { \"ports\", \"../ports\" }\n  use = \"a\"\n}");
	write_file("sub/ports", "80 443");
	write_file("ports", "8080");
}

/* Paths start at the file that names them; lines are right within and after each include */
static void places(void **state)
{
	struct config *config;

	(void)state;
	make_files();
	config = load_file("main.conf", "", "");
	assert_int_equal(config->n_files, 6);
	assert_string_equal(config->files[0], "main.conf");
	assert_string_equal(config->files[1], "sub/links.conf");
	assert_string_equal(config->files[2], "sub/more.conf");
	assert_string_equal(config->files[3], "sub/rules.conf");
	assert_string_equal(config->files[4], "sub/ports");
	assert_string_equal(config->files[5], "sub/../ports");
	assert_string_equal(config->links[0].file, "sub/links.conf");
	assert_int_equal(config->links[0].line, 2);
	assert_string_equal(config->links[1].file, "sub/more.conf");
	assert_int_equal(config->links[1].line, 2);
	assert_string_equal(config->groups[0].file, "main.conf");
	assert_int_equal(config->groups[0].line, 6);
	assert_string_equal(config->rules[0].file, "sub/rules.conf");
	assert_int_equal(config->rules[0].line, 1);
	assert_int_equal(config->rules[0].n_dports, 3);
	assert_string_equal(config->rules[1].file, "main.conf");
	assert_int_equal(config->rules[1].line, 8);
	config_free(config);
}

/* One mistake in each file, all in one run */
static void errors_everywhere(void **state)
{
	(void)state;
	make_files();
	write_file("sub/links.conf",
		   "\nlink \"a\" { id = 1\n  interface = \"wan0\"\n  weight = 0 }\ninclude(\"more.conf\")\n"
		   "link \"c\" { id = 3  interface = \"\" }\n");
	write_file("sub/more.conf", "link \"b\" {\n  id = 2  interface = \"wan1\"\n  upload = \"1MB\"\n}\n");
	write_file("sub/ports", "80\n443\n\nhtpp");
	write_file("main.conf",
		   "include(\"sub/links.conf\")\n" LAN GROUP "include(\"sub/rules.conf\")\n\nrule \"rest\" {\n"
		   "  use = \"al\"\n}\n");
	assert_null(load_file(
		"main.conf",
		"sub/links.conf:4: link \"a\": weight 0, expected 1 to 1000000\n"
		"sub/more.conf:3: link \"b\": upload 1MB, expected bits per second, not bytes: a number with "
		"bit, kbit, Mbit or Gbit\n"
		"sub/links.conf:6: link \"c\": interface \"\", expected an interface name of 1 to 15 characters\n"
		"sub/ports:4: rule \"web\": destination-port-file \"htpp\", expected 1 to 65535, a range such as "
		"1000-2000, or a service name\n"
		"main.conf:7: rule \"rest\": use \"al\", expected the name of a group or link, or bypass\n",
		NULL));
}

/* As an editor of another system writes it: a mark of the encoding in front, line ends of two bytes */
static void encoding_mark(void **state)
{
	struct config *config;

	(void)state;
	make_files();
	write_file("main.conf",
		   "\xef\xbb\xbfinclude(\"sub/links.conf\")\r\n" LAN GROUP "\r\nrule \"web\" {\r\n"
		   "  destination-port-file = \"sub/ports\"\r\n  use = all\r\n}\r\nrule \"rest\" { use = all }");
	write_file("sub/ports", "\xef\xbb\xbf"
				"80\r\n443");
	config = load_file("main.conf", "", "");
	assert_non_null(config);
	assert_int_equal(config->rules[0].n_dports, 2);
	assert_int_equal(config_files_checksum(config), config->checksum);
	config_free(config);
	write_file("main.conf", "lan = lan0\n\xef\xbb\xbf" LINK_A);
	assert_null(load_file("main.conf", "main.conf:2: unknown key \"???link\", did you mean \"link\"?\n", NULL));
}

static void syntax_errors(void **state)
{
	(void)state;
	make_files();
	write_file("sub/more.conf", "\n\nlink \"b\" { id 2 }\n");
	assert_null(load_file("main.conf", "sub/more.conf:3: link \"b\": no '=' after \"id\"\n", NULL));
	write_file("sub/more.conf", "");
	write_file("sub/links.conf", LINK_A "include(\"more.conf\")\n# three\nfoo = 1\n");
	assert_null(load_file("main.conf", "sub/links.conf:4: unknown key \"foo\", see nfq-balancer.conf(5)\n", NULL));
	write_file("sub/links.conf", LINK_A LINK_B);
	write_file("main.conf", "include(\"sub/links.conf\")\n\ninclude(\"sub/absent.conf\")\n");
	assert_null(
		load_file("main.conf", "main.conf:3: include \"sub/absent.conf\": No such file or directory\n", NULL));
}

/* The checksum covers every byte of every file, and says whether they changed since */
static void checksum(void **state)
{
	struct config *config, *again;

	(void)state;
	make_files();
	config = load_file("main.conf", "", "");
	again = load_file("main.conf", "", "");
	assert_true(config->checksum == again->checksum);
	config_free(again);
	assert_true(config_files_checksum(config) == config->checksum);
	write_file("sub/ports", "80 444");
	assert_true(config_files_checksum(config) != config->checksum);
	again = load_file("main.conf", "", "");
	assert_true(config->checksum != again->checksum);
	config_free(again);
	write_file("sub/ports", "80 443");
	assert_true(config_files_checksum(config) == config->checksum);
	assert_int_equal(unlink("sub/more.conf"), 0);
	assert_true(config_files_checksum(config) == 0);
	config_free(config);
}

/* A port list that several rules use is read for each, and counts once */
static void shared_port_file(void **state)
{
	struct config *config;

	(void)state;
	write_file("list", "1 2");
	write_file("t.conf", BASE "rule \"x\" { destination-port-file = \"list\"  use = \"a\" }\n"
				  "rule \"y\" { source-port-file = \"list\"  use = \"a\" }\n" REST);
	config = load_file("t.conf", "", "");
	assert_int_equal(config->rules[0].n_dports, 2);
	assert_int_equal(config->rules[1].n_sports, 2);
	assert_int_equal(config->n_files, 2);
	assert_true(config_files_checksum(config) == config->checksum);
	config_free(config);
}

static void long_port_file(void **state)
{
	FILE *file = fopen("list", "w");
	struct config *config;

	(void)state;
	for (unsigned port = 1; port <= 3000; port++)
		fprintf(file, "%u%s", port * 2, port % 7 == 0 ? "\n" : port % 3 == 0 ? "\t" : ", ");
	fclose(file);
	write_file("t.conf", BASE "rule \"x\" { destination-port-file = \"list\"  use = \"a\" }\n" REST);
	config = load_file("t.conf", "", "");
	assert_int_equal(config->rules[0].n_dports, 3000);
	assert_int_equal(config->rules[0].dports[2999].last, 6000);
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places),	  cmocka_unit_test(errors_everywhere),
		cmocka_unit_test(syntax_errors),  cmocka_unit_test(encoding_mark),
		cmocka_unit_test(checksum),	  cmocka_unit_test(shared_port_file),
		cmocka_unit_test(long_port_file),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
