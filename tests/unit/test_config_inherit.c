/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a reload may change, and what it refuses */
#include "config_util.h"

/* May a configuration with `next` replace one with `running`? Compares the refusals. */
static void check_inherit(const char *running_text, const char *next_text, const char *refusals)
{
	struct config_messages errors = { 0 };
	struct config *running = load_text(running_text);
	struct config *next = load_text(next_text);
	bool good = config_inherit(next, running, &errors);
	char *said = messages_join(&errors);

	assert_string_equal(said, refusals);
	assert_int_equal(good, refusals[0] == '\0');
	free(said);
	config_free(running);
	config_free(next);
}

#define RESTART ", expected no change: that needs a restart of rules and daemon\n"

static void refused(void **state)
{
	(void)state;
	check_inherit(BASE REST, TOP("mask = 0xff0000"), "t.conf: mask changed from 0xff00 to 0xff0000" RESTART);
	check_inherit(BASE REST, TOP("queue = 3\nqueues = 2\nqueue-length = 5\nsticky-entries = 64"),
		      "t.conf: queue changed from 0 to 3" RESTART "t.conf: queues changed from 1 to 2" RESTART
		      "t.conf: queue-length changed from 4096 to 5" RESTART
		      "t.conf: sticky-entries changed from 65536 to 64" RESTART);
	check_inherit(BASE REST,
		      TOP("user = \"x\"\nrun-directory = \"/r\"\nstate-directory = \"/s\"\nsocket-group = \"g\""),
		      "t.conf: socket changed from /run/nfq-balancer/control.sock to /r/control.sock" RESTART
		      "t.conf: socket-group changed from nothing to g" RESTART
		      "t.conf: user changed from nfq-balancer to x" RESTART
		      "t.conf: run-directory changed from /run/nfq-balancer to /r" RESTART
		      "t.conf: state-directory changed from /var/lib/nfq-balancer to /s" RESTART);
	check_inherit(LINK_WITH(""), LAN "link \"a\" { id = 2  interface = \"wan9\" }\nrule \"rest\" { use = \"a\" }\n",
		      "t.conf:2: link \"a\": id changed from 1 to 2" RESTART
		      "t.conf:2: link \"a\": interface changed from wan0 to wan9" RESTART
		      "t.conf:2: link \"a\": table changed from 101 to 102" RESTART);
	check_inherit(
		BASE REST, LAN LINK_A "link \"c\" { id = 3  interface = \"wan2\" }\nrule \"rest\" { use = \"a\" }\n",
		"t.conf:3: link \"c\" is new, expected the running links: that needs a restart of rules and daemon\n"
		"t.conf: link \"b\" is gone, expected the running links: that needs a restart of rules and daemon\n");
}

static void allowed(void **state)
{
	(void)state;
	check_inherit(BASE REST, BASE REST, "");
	check_inherit(BASE REST,
		      "lan = { \"lan0\", \"lan1\" }\nfallback = no\nlocal = yes\nlog-level = debug\n"
		      "link \"b\" { id = 2  interface = \"wan1\"  weight = 7  download = \"1G\" }\n"
		      "link \"a\" { id = 1  interface = \"wan0\"  nat = none }\n" GROUP
		      "rule \"new\" { protocol = \"tcp\"  use = \"b\" }\n" REST,
		      "");
}

#define IDLE(name) "group \"" name "\" { links = \"a\" }\nrule \"" name "\" { dscp = 1  use = \"" name "\" }\n"

/* Groups keep their slots by name; a new one gets a slot that nobody had before */
static void slots(void **state)
{
	struct config_messages errors = { 0 };
	struct config *first = load_text(LAN LINK_A LINK_B IDLE("one") IDLE("two") IDLE("three") GROUP REST);
	struct config *second = load_text(LAN LINK_A LINK_B IDLE("new") IDLE("three") GROUP IDLE("one") REST);
	struct config *third = load_text(LAN LINK_A LINK_B GROUP IDLE("two") REST);

	(void)state;
	assert_int_equal(first->groups[3].slot, 3);
	assert_true(config_inherit(second, first, &errors));
	assert_int_equal(second->groups[0].slot, 4); /* new: 1 is free now, but was "two" */
	assert_int_equal(second->groups[1].slot, 2);
	assert_int_equal(second->groups[2].slot, 3);
	assert_int_equal(second->groups[3].slot, 0);
	assert_true(config_inherit(third, second, &errors));
	assert_int_equal(third->groups[0].slot, 3);
	assert_int_equal(third->groups[1].slot, 1);
	config_free(first);
	config_free(second);
	config_free(third);
}

/* With every slot taken, those that came free are used again */
static void slots_exhausted(void **state)
{
	struct config_messages errors = { 0 };
	struct config *configs[2];
	bool seen[CONFIG_MAX_GROUPS] = { false };
	char *text = NULL;
	size_t length = 0;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		FILE *out = open_memstream(&text, &length);

		fputs(LAN LINK_A, out);
		for (unsigned i = 0; i < CONFIG_MAX_GROUPS; i++)
			fprintf(out, "group \"g%u\" { links = \"a\" }\nrule \"r%u\" { dscp = 1  use = \"g%u\" }\n",
				i + round * 100, i, i + round * 100);
		fputs("rule \"rest\" { use = \"a\" }\n", out);
		fclose(out);
		configs[round] = load_text(text);
		free(text);
	}
	assert_true(config_inherit(configs[1], configs[0], &errors));
	for (unsigned i = 0; i < CONFIG_MAX_GROUPS; i++) {
		assert_true(configs[1]->groups[i].slot < CONFIG_MAX_GROUPS);
		assert_false(seen[configs[1]->groups[i].slot]);
		seen[configs[1]->groups[i].slot] = true;
		if (i < CONFIG_MAX_GROUPS - 100)
			assert_int_equal(configs[1]->groups[i].slot, i + 100);
	}
	config_free(configs[0]);
	config_free(configs[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused),
		cmocka_unit_test(allowed),
		cmocka_unit_test(slots),
		cmocka_unit_test(slots_exhausted),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
