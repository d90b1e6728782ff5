/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every example file loads without a warning, and so does the default file with all keys in use.
 * Run from the top of the source tree. */
#include <glob.h>

#include "config_util.h"

#define EXAMPLES "scripts/examples/"

static void each_loads(void **state)
{
	glob_t files;

	(void)state;
	assert_int_equal(glob(EXAMPLES "*.conf", 0, NULL, &files), 0);
	assert_true(files.gl_pathc >= 6);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		print_message("  %s\n", files.gl_pathv[i]);
		config_free(load_file(files.gl_pathv[i], "", ""));
	}
	globfree(&files);
}

/* Comments that hold a key start with '#' and the key, prose with '#' and a space */
static void every_key(void **state)
{
	FILE *file = fopen(EXAMPLES "nfq-balancer.conf", "r");
	char name[] = "/tmp/nfqb-example-XXXXXX";
	int fd = mkstemp(name);
	FILE *out;
	char line[256];
	struct config *config;

	(void)state;
	assert_non_null(file);
	assert_true(fd >= 0);
	out = fdopen(fd, "w");
	fputs("link \"lte\" { id = 9  interface = \"wwan0\" }\n", out);
	while (fgets(line, sizeof(line), file) != NULL) {
		char *hash = strchr(line, '#');

		if (strstr(line, "include(") != NULL)
			continue;
		if (hash != NULL && hash == line + strspn(line, "\t") && hash[1] >= 'a' && hash[1] <= 'z')
			*hash = ' ';
		if (strstr(line, "gateway6 = off") != NULL)
			strcpy(line, "gateway6 = auto\n");
		fputs(line, out);
	}
	fclose(file);
	fclose(out);
	config = load_file(name, "", "");
	assert_string_equal(config->links[0].table_name, "fibre");
	assert_int_equal(config->groups[0].n_tiers, 2);
	assert_string_equal(config->socket_group, "adm");
	config_free(config);
	unlink(name);
}

static char *read_text(const char *name)
{
	FILE *file = fopen(name, "r");
	char *text = calloc(1, 65536);

	assert_non_null(file);
	assert_non_null(text);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	return text;
}

/* Every word of the grammar */
static const char *const keys[] = {
	"lan",
	"mask",
	"queue",
	"queues",
	"queue-length",
	"spin",
	"pin",
	"fallback",
	"local",
	"feedback",
	"feedback-budget",
	"feedback-interval",
	"offload",
	"ip-forward",
	"helpers",
	"source-limit",
	"sticky-entries",
	"rule-preference",
	"socket",
	"socket-group",
	"user",
	"run-directory",
	"state-directory",
	"log-level",
	"link",
	"id",
	"interface",
	"gateway",
	"gateway6",
	"weight",
	"fallback-weight",
	"download",
	"upload",
	"table",
	"table-name",
	"nat",
	"nat6",
	"address",
	"prefixes6",
	"group",
	"links",
	"tier",
	"scheduler",
	"spill-at",
	"sticky",
	"sticky-timeout",
	"rule",
	"protocol",
	"destination-port",
	"destination-port-file",
	"source-port",
	"source-port-file",
	"source",
	"destination",
	"from",
	"dscp",
	"mark",
	"use",
	"if-down",
};

/* A key that the parser knows stands in the manual and in the default file */
static void every_key_is_documented(void **state)
{
	char *manual = read_text("man/nfq-balancer.conf.5");
	char *example = read_text(EXAMPLES "nfq-balancer.conf");

	(void)state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char alone[64], second[64];

		if (strstr(example, keys[i]) == NULL)
			fail_msg("no %s in the default file", keys[i]);
		snprintf(alone, sizeof(alone), "Ic %s", keys[i]);
		snprintf(second, sizeof(second), ", %s\n", keys[i]);
		if (strstr(manual, alone) == NULL && strstr(manual, second) == NULL)
			fail_msg("no %s in the manual", keys[i]);
	}
	free(manual);
	free(example);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_documented),
		cmocka_unit_test(each_loads),
		cmocka_unit_test(every_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
