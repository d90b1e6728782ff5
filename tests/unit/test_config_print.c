/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `nfq-balancer -n` prints: records for the rules script, text for people */
#include "config_util.h"

static char *printed(const struct config *config, void (*print)(FILE *, const struct config *))
{
	size_t length = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	print(out, config);
	fclose(out);
	return text;
}

static const char rich[] =
	"lan = { \"br0\", \"ppp+\" }\nmask = 0x3f0000\nqueue = 8\nqueues = 2\nhelpers = { \"ftp\", \"sip\" }\n"
	"local = true\noffload = true\nfallback = true\nip-forward = keep\nrun-directory = \"/run/x\"\nrule-preference = 500\n"
	"link \"a\" { id = 4  interface = \"w0\"  gateway = \"192.0.2.1\"  gateway6 = \"fe80::1\"  weight = 3\n"
	"  prefixes6 = { \"2001:db8:1::/48\", \"2001:db8:2::/56\" }  table = 20  table-name = \"isp\" }\n"
	"link \"b\" { id = 2  interface = \"w1\"  gateway = none  nat = \"198.51.100.7\"  address = \"198.51.100.7\" }\n"
	"link \"c\" { id = 9  interface = \"w2\"  gateway = off  gateway6 = auto  nat6 = masquerade  nat = none }\n"
	"group \"all\" { links = { \"a\", \"b\" }  tier 3 { links = \"c\" }  sticky = none }\n" REST;

static void records(void **state)
{
	struct config *config = load_text(rich);
	char *text = printed(config, config_print_rules);
	char expected[2048];

	(void)state;
	snprintf(expected, sizeof(expected),
		 "version 1\n"
		 "mask 0x3f0000 16 0x200000 0x200000 0x3f0000 0x3e0000\n"
		 "queue 8 2 4096\n"
		 "fallback yes\n"
		 "local yes\n"
		 "feedback yes\n"
		 "offload yes\n"
		 "ip-forward keep\n"
		 "source-limit 5000\n"
		 "preference 500\n"
		 "run-directory /run/x\n"
		 "helper ftp\n"
		 "helper sip\n"
		 "lan br0\n"
		 "lan ppp+\n"
		 "link 2 b w1 102 - none off 198.51.100.7 none 198.51.100.7 1 1 0x20000 0x220000 -\n"
		 "link 4 a w0 20 isp 192.0.2.1 fe80::1 masquerade none - 3 3 0x40000 0x240000 "
		 "2001:db8:1::/48,2001:db8:2::/56\n"
		 "link 9 c w2 109 - off auto none masquerade - 1 0 0x90000 0x290000 -\n"
		 "config-file t.conf\n"
		 "checksum %016llx\n"
		 "checksum-weightless %016llx\n",
		 (unsigned long long)config_rules_checksum(config, true),
		 (unsigned long long)config_rules_checksum(config, false));
	assert_string_equal(text, expected);
	free(text);
	config_free(config);
}

static uint64_t checksum_of(const char *text, bool fallback_weights)
{
	struct config *config = load_text(text);
	uint64_t sum = config_rules_checksum(config, fallback_weights);

	config_free(config);
	return sum;
}

static uint64_t rules_checksum(const char *text)
{
	return checksum_of(text, true);
}

/* Where the fallback follows the daemon, its weights need no restart of the rules */
static void checksum_weightless(void **state)
{
	uint64_t sum = checksum_of(LINK_WITH(""), false);

	(void)state;
	assert_true(checksum_of(LINK_WITH("weight = 2"), false) == sum);
	assert_true(checksum_of(LINK_WITH("fallback-weight = 2"), false) == sum);
	assert_true(checksum_of(LINK_WITH("fallback-weight = 2"), true) != checksum_of(LINK_WITH(""), true));
	assert_true(checksum_of(LINK_WITH("gateway = none"), false) != sum);
	assert_true(checksum_of(TOP("local = yes"), false) != checksum_of(BASE REST, false));
}

/* It changes with what the kernel's rules are made from, and with nothing else */
static void checksum(void **state)
{
	uint64_t sum = rules_checksum(BASE REST);
	const char *const same[] = {
		TOP("log-level = debug"),
		TOP("user = \"nobody\"\nsticky-entries = 64"),
		TOP("spin = 50\npin = auto"),
		"# comment\n" BASE REST,
		BASE "rule \"x\" { protocol = \"tcp\"  use = \"a\" }\n" REST,
	};
	const char *const other[] = {
		TOP("mask = 0xff0000"),
		TOP("queue = 1"),
		TOP("queue-length = 1"),
		TOP("fallback = no"),
		TOP("local = yes"),
		TOP("feedback = no"),
		TOP("offload = yes"),
		TOP("ip-forward = keep"),
		TOP("source-limit = 1"),
		TOP("rule-preference = 1"),
		TOP("helpers = \"ftp\""),
		TOP("run-directory = \"/r\""),
		"lan = \"lan1\"\n" LINK_A LINK_B GROUP REST,
		LAN LINK_A "link \"b\" { id = 2  interface = \"wan1\"  nat = none }\n" GROUP REST,
		LAN LINK_A "link \"b\" { id = 2  interface = \"wan1\"  gateway = none }\n" GROUP REST,
		/* a weight, where the fallback's share follows from it */
		LAN LINK_A "link \"b\" { id = 2  interface = \"wan1\"  weight = 2 }\n" GROUP REST,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		assert_true(rules_checksum(same[i]) == sum);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		assert_true(rules_checksum(other[i]) != sum);
	/* a weight beside a stated share is the daemon's business alone */
	assert_true(rules_checksum(LINK_WITH("fallback-weight = 1")) ==
		    rules_checksum(LINK_WITH("fallback-weight = 1  weight = 5")));
}

static void rule_lines(void **state)
{
	static const struct {
		const char *keys, *line;
	} cases[] = {
		{ "protocol = { tcp, 17, 47 }  use = \"a\"", "tcp,udp,gre -> link a, another link while it is down" },
		{ "protocol = tcp  destination-port = { 25, \"1000-2000\" }  use = \"a\"  if-down = reject",
		  "tcp to port 25,1000-2000 -> link a, rejected while it is down" },
		{ "source-port = 53  use = \"all\"", "any protocol with ports from port 53 -> group all" },
		{ "source = { \"192.0.2.0/24\", \"2001:db8::/32\" }  destination = \"203.0.113.9\"  use = \"bypass\"",
		  "any protocol from 192.0.2.0/24,2001:db8::/32 to 203.0.113.9/32 -> bypass: the main routing table decides" },
		{ "interface = { \"br0\", \"br1\" }  dscp = { 8, EF }  use = \"all\"",
		  "any protocol in by br0,br1 dscp 8,46 -> group all" },
		{ "mark = \"0x1/0xf\"  from = lan  use = \"all\"",
		  "any protocol mark 0x1/0xf of the LAN -> group all" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512], *line;
		struct config *config;

		snprintf(text, sizeof(text), BASE "rule \"x\" { %s }\n" REST, cases[i].keys);
		config = load_text(text);
		line = config_rule_str(config, &config->rules[0]);
		assert_string_equal(line, cases[i].line);
		free(line);
		line = config_rule_str(config, &config->rules[1]);
		assert_string_equal(line, "everything -> group all");
		free(line);
		config_free(config);
	}
}

/* Everything is there for people: defaults, units, shares, tiers, marks */
static void for_people(void **state)
{
	static const char *const lines[] = {
		"files           t.conf\n",
		"lan             br0, ppp+\n",
		"queues          2, NFQUEUE 8 to 9, 4096 packets each\n",
		"spin            0: workers sleep until a packet comes\n",
		"pin             off: workers run on any processor\n",
		"source-limit    5000 new connections/s of one source, the fallback takes the rest\n",
		"socket          /run/x/control.sock, root only\n",
		"\nlink a: id 4, interface w0, weight 3, table 20 isp\n",
		"  IPv4: gateway 192.0.2.1, masquerade\n",
		"  IPv6: gateway fe80::1, no NAT\n",
		"  IPv6 prefixes: 2001:db8:1::/48, 2001:db8:2::/56\n",
		"  IPv4: no gateway, point to point, source address becomes 198.51.100.7\n",
		"  IPv4: not carried\n",
		"\ngroup all: scheduler least-load, sticky none\n",
		"  tier 1: b (weight 1), a (weight 3)\n",
		"  tier 3, when no link of the tiers above is usable: c (weight 1)\n",
		"  rest            everything -> group all\n",
		"  link a: 3 of 4 (75.0 %)\n",
		"\nmarks: mask 0x3f0000, room for link ids 1 to 29\n",
		"  0x40000    0x240000   link a (first packet, settled)\n",
		"  0x3f0000              left to the main routing table\n",
	};
	struct config *config = load_text(rich);
	char *text = printed(config, config_print);

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (strstr(text, lines[i]) == NULL)
			fail_msg("not printed: %s in:\n%s", lines[i], text);
	free(text);
	config_free(config);
}

static void feedback_for_people(void **state)
{
	static const char *const cases[][2] = {
		{ "feedback-interval = 0",
		  "feedback        yes: which flows are sending is followed, within 20 % of a processor, at once\n" },
		{ "feedback-interval = 1",
		  "feedback        yes: which flows are sending is followed, within 20 % of a processor, every 1 us\n" },
		{ "feedback = no", "feedback        no: which flows are sending is not followed\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char whole[1024];
		struct config *config;
		char *text;

		snprintf(whole, sizeof(whole), "%s\n" BASE REST, cases[i][0]);
		config = load_text(whole);
		text = printed(config, config_print);
		assert_non_null(strstr(text, cases[i][1]));
		free(text);
		config_free(config);
	}
}

static void spillover_for_people(void **state)
{
	char *rich_spillover = strdup(rich), *at, *text;
	struct config *config;

	(void)state;
	assert_non_null(rich_spillover);
	at = strstr(rich_spillover, "sticky = none }");
	assert_non_null(at);
	/* the same length: NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(at, "spill-at = 70 }", strlen("spill-at = 70 }"));
	config = load_text(rich_spillover);
	config->groups[0].scheduler = SCHED_SPILLOVER;
	text = printed(config, config_print);
	/* listed as a, b; c is in a lower tier */
	assert_non_null(
		strstr(text, "  a link is loaded from 70 % of its capacity on\n  filled in this order: a b c\n"));
	free(text);
	config->groups[0].scheduler = SCHED_LATENCY;
	text = printed(config, config_print);
	assert_non_null(strstr(text, "scheduler latency"));
	assert_non_null(strstr(text, "from 70 %"));
	assert_null(strstr(text, "in this order"));
	free(text);
	config_free(config);
	free(rich_spillover);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records),
		cmocka_unit_test(checksum),
		cmocka_unit_test(checksum_weightless),
		cmocka_unit_test(rule_lines),
		cmocka_unit_test(for_people),
		cmocka_unit_test(spillover_for_people),
		cmocka_unit_test(feedback_for_people),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
