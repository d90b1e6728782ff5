/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_overrides.c - values set at runtime over reloads and restarts
 *
 * Includes the module and stands in for links.c and log.c.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fixture.h"

#include "nfq-balancer/overrides.c"

void log_info(const char *format, ...)
{
	(void)format;
}

void links_set_weight(struct links *links, unsigned link, uint32_t weight)
{
	link_runtime_set_weight(links->runtime, link, weight);
}

void links_set_admin(struct links *links, unsigned link, enum link_admin admin)
{
	links->status[link].admin = admin;
}

static const char *const admins[] = { "auto", "up", "down", "drain" };

const char *link_admin_name(enum link_admin admin)
{
	return admins[admin];
}

int link_admin_parse(const char *name)
{
	for (int i = 0; i < 4; i++) {
		if (!strcmp(admins[i], name))
			return i;
	}
	return -1;
}

static char directory[] = "/tmp/nfqb-test-overrides.XXXXXX";
static char error[256];

/* Two links and a group as a file would say: `weight` of the first, scheduler of the group */
static struct config *file_says(uint32_t weight, enum scheduler scheduler)
{
	struct config *config = fixture_empty();
	struct group_config group = { .name = "both", .scheduler = scheduler, .links = 3, .n_tiers = 1 };

	fixture_link(config, 1, weight);
	fixture_link(config, 2, 1);
	group.tier[0] = group.tier[1] = 1;
	fixture_append(config->groups, config->n_groups, group);
	config->state_directory = strdup(directory);
	return config;
}

static void start(struct daemon *daemon, uint32_t weight, enum scheduler scheduler)
{
	struct config *config = file_says(weight, scheduler);

	memset(daemon, 0, sizeof(*daemon));
	link_runtime_init(&daemon->runtime, config);
	daemon->links.runtime = &daemon->runtime;
	daemon->policy = policy_compile(config);
}

static void stop(struct daemon *daemon)
{
	policy_free(daemon->policy);
}

static void file_path(char *path, size_t size)
{
	snprintf(path, size, "%s/runtime.conf", directory);
}

static void test_reload_keeps_what_the_file_did_not_change(void **state)
{
	struct config *same = file_says(2, SCHED_WRR), *changed = file_says(4, SCHED_HASH);
	struct daemon daemon;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	assert_false(overrides_differ(&daemon));
	links_set_weight(&daemon.links, 0, 7);
	links_set_weight(&daemon.links, 1, 9);
	assert_true(overrides_differ(&daemon));
	overrides_inherit(&daemon, policy_config(daemon.policy), same);
	assert_int_equal(link_runtime_weight(&daemon.runtime, 0), 7);
	assert_int_equal(link_runtime_scheduler(&daemon.runtime, 0), SCHED_WRR);
	overrides_inherit(&daemon, same, changed);
	assert_int_equal(link_runtime_weight(&daemon.runtime, 0), 4);
	assert_int_equal(link_runtime_weight(&daemon.runtime, 1), 9);
	assert_int_equal(link_runtime_scheduler(&daemon.runtime, 0), SCHED_HASH);
	config_free(same);
	config_free(changed);
	stop(&daemon);
}

/* A group that takes over the slot of one that is gone starts with its own scheduler */
static void test_reload_new_group(void **state)
{
	struct config *after = file_says(2, SCHED_WRR);
	struct daemon daemon;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	link_runtime_set_scheduler(&daemon.runtime, 0, SCHED_HASH);
	snprintf(after->groups[0].name, sizeof(after->groups[0].name), "other");
	overrides_inherit(&daemon, policy_config(daemon.policy), after);
	assert_int_equal(link_runtime_scheduler(&daemon.runtime, 0), SCHED_WRR);
	config_free(after);
	stop(&daemon);
}

static void test_restart(void **state)
{
	struct daemon daemon;
	char path[256];
	struct stat st;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	links_set_weight(&daemon.links, 0, 7);
	links_set_admin(&daemon.links, 1, LINK_ADMIN_DRAIN);
	link_runtime_set_scheduler(&daemon.runtime, 0, SCHED_HASH);
	assert_true(overrides_save(&daemon, error, sizeof(error)));
	stop(&daemon);
	file_path(path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);

	start(&daemon, 2, SCHED_WRR);
	assert_true(overrides_load(&daemon, error, sizeof(error)));
	assert_int_equal(link_runtime_weight(&daemon.runtime, 0), 7);
	assert_int_equal(daemon.links.status[1].admin, LINK_ADMIN_DRAIN);
	assert_int_equal(link_runtime_scheduler(&daemon.runtime, 0), SCHED_HASH);
	stop(&daemon);

	/* the file was edited in between: it wins */
	start(&daemon, 5, SCHED_WRR);
	assert_true(overrides_load(&daemon, error, sizeof(error)));
	assert_int_equal(link_runtime_weight(&daemon.runtime, 0), 5);
	assert_int_equal(link_runtime_scheduler(&daemon.runtime, 0), SCHED_HASH);
	stop(&daemon);
}

/* Nothing differs any more: the next start finds nothing to change */
static void test_save_nothing(void **state)
{
	struct daemon daemon;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	links_set_weight(&daemon.links, 0, 7);
	assert_true(overrides_save(&daemon, error, sizeof(error)));
	links_set_weight(&daemon.links, 0, 2);
	assert_true(overrides_save(&daemon, error, sizeof(error)));
	assert_true(overrides_load(&daemon, error, sizeof(error)));
	assert_false(overrides_differ(&daemon));
	stop(&daemon);
}

static void test_load_nothing(void **state)
{
	struct daemon daemon;
	char path[256];

	(void)state;
	file_path(path, sizeof(path));
	unlink(path);
	start(&daemon, 2, SCHED_WRR);
	assert_true(overrides_load(&daemon, error, sizeof(error)));
	assert_false(overrides_differ(&daemon));
	stop(&daemon);
}

static void write_file(const char *text)
{
	char path[256];
	FILE *out;

	file_path(path, sizeof(path));
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

/* Names that are gone and values nobody could have set change nothing */
static void test_load_odd(void **state)
{
	struct daemon daemon;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	write_file("link \"gone\" { weight = 3 file-weight = 2 }\n"
		   "link \"wan1\" { weight = 100000000 file-weight = 2 state = \"sideways\" }\n"
		   "link \"wan2\" { weight = -1 file-weight = 1 }\n"
		   "group \"gone\" { scheduler = \"hash\" file-scheduler = \"wrr\" }\n"
		   "group \"both\" { scheduler = \"magic\" file-scheduler = \"wrr\" }\n");
	assert_true(overrides_load(&daemon, error, sizeof(error)));
	assert_false(overrides_differ(&daemon));
	stop(&daemon);
}

static void test_load_broken(void **state)
{
	struct daemon daemon;

	(void)state;
	start(&daemon, 2, SCHED_WRR);
	write_file("link \"wan1\" { weight = 5 file-weight = 2 }\nlink \"wan2\" { wei\n");
	assert_false(overrides_load(&daemon, error, sizeof(error)));
	assert_non_null(strstr(error, "runtime.conf: line "));
	assert_false(overrides_differ(&daemon));
	stop(&daemon);
}

static void test_save_nowhere(void **state)
{
	struct config *config = file_says(2, SCHED_WRR);
	struct daemon daemon = { 0 };

	(void)state;
	free(config->state_directory);
	config->state_directory = strdup("/nonexistent");
	link_runtime_init(&daemon.runtime, config);
	daemon.policy = policy_compile(config);
	assert_false(overrides_save(&daemon, error, sizeof(error)));
	assert_non_null(strstr(error, "/nonexistent/runtime.conf"));
	stop(&daemon);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	char path[256];

	(void)state;
	file_path(path, sizeof(path));
	unlink(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reload_keeps_what_the_file_did_not_change),
		cmocka_unit_test(test_reload_new_group),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_save_nothing),
		cmocka_unit_test(test_load_nothing),
		cmocka_unit_test(test_load_odd),
		cmocka_unit_test(test_load_broken),
		cmocka_unit_test(test_save_nowhere),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
