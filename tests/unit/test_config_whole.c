/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is wrong with a configuration as a whole: references, duplicates, conflicts */
#include "config_util.h"

static const struct bad_case cases[] = {
	{ "empty file", "",
	  "t.conf: no link, expected at least one, such as link \"NAME\" { id = 1  interface = \"eth1\" }\n"
	  "t.conf: no final rule, expected rules of which the last matches everything, such as rule \"rest\" { use = \"GROUP\" }\n" },
	{ "duplicate link name", BASE LINK_A REST, "t.conf:5: link \"a\" is defined twice, first at t.conf:2\n" },
	/* the first one's values are gone by then; those of the second are checked */
	{ "duplicate with wrong values",
	  LAN "link \"a\" { id = 999 interface = \"wan0\" }\n" LINK_B
	      "link \"a\" { id = 1 interface = \"wan0\" weight = x }\n" GROUP REST,
	  "t.conf:4: link \"a\" is defined twice, first at t.conf:2\n"
	  "t.conf:4: link \"a\": weight \"x\", expected 1 to 1000000\n" },
	{ "duplicate group and rule", BASE GROUP REST REST,
	  "t.conf:5: group \"all\" is defined twice, first at t.conf:4\n"
	  "t.conf:7: rule \"rest\" is defined twice, first at t.conf:6\n" },
	{ "duplicate tier",
	  LAN LINK_A LINK_B "group \"all\" { links = \"a\"\n tier 2 { links = \"b\" }\n tier 2 { links = \"b\" } }\n"
			    "group \"x\" { links = \"a\"  tier 2 { links = \"b\" } }\n" REST,
	  "t.conf:6: tier \"2\" of group \"all\" is defined twice, first at t.conf:5\n" },
	{ "duplicate id", LAN LINK_A "link \"b\" { id = 1  interface = \"wan1\" }\n" GROUP REST,
	  "t.conf:3: link \"b\": id 1 (mark 0x100) is that of link \"a\" (t.conf:2) too, expected its own\n" },
	{ "duplicate table",
	  LAN LINK_A "link \"b\" {\n"
		     "\tid = 2\n"
		     "\tinterface = \"wan1\"\n"
		     "\ttable = 101\n"
		     "}\n" GROUP REST,
	  "t.conf:3: link \"b\": table 101 is that of link \"a\" (t.conf:2) too, expected its own\n" },
	{ "dup table name",
	  LAN "link \"a\" { id = 1  interface = \"wan0\" table-name = \"x\" }\n"
	      "link \"b\" { id = 2  interface = \"wan1\" table-name = \"x\" }\n" GROUP REST,
	  "t.conf:3: link \"b\": table-name \"x\" is that of link \"a\" (t.conf:2) too, expected its own\n" },
	{ "group no links",
	  LAN LINK_A "group \"all\" { }\n"
		     "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:3: group \"all\": no links, expected links = { ... } with at least one\n" },
	{ "rule to nowhere", BASE "rule \"x\" { use = \"nowhere\" }\n" REST,
	  "t.conf:5: rule \"x\": use \"nowhere\", expected the name of a group or link, or bypass\n" },
	{ "rule no use", BASE "rule \"x\" { }\n" REST,
	  "t.conf:5: rule \"x\": use is missing, expected the name of a group or link, or bypass\n" },
	{ "no rules", BASE,
	  "t.conf: no final rule, expected rules of which the last matches everything, such as rule \"rest\" { use = \"GROUP\" }\n" },
	{ "no final rule", BASE "rule \"x\" { protocol = \"tcp\"  use = \"all\" }\n",
	  "t.conf:5: no final rule: rule \"x\" is the last and has conditions, expected one without after it, such as rule \"rest\" { use = \"GROUP\" }\n" },
	{ "id 126",
	  LAN "link \"a\" { id = 126  interface = \"wan0\" }\n"
	      "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\": id 126, expected 1 to 125: mask 0xff00 is too narrow for more\n" },
	{ "id 0",
	  LAN "link \"a\" { id = 0  interface = \"wan0\" }\n"
	      "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\": id 0, expected 1 to 125\n" },
	{ "id and interface missing",
	  LAN "link \"a\" { }\n"
	      "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\": id is missing, expected 1 to 125\n"
	  "t.conf:2: link \"a\": interface is missing, expected an interface name of 1 to 15 characters\n" },
	{ "default table reserved",
	  "mask = 0xfff00\n" LAN "link \"a\" { id = 153  interface = \"wan0\" }\n"
	  "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:3: link \"a\": table 253 (100 + id) is the kernel's own, expected another one stated with table\n" },
	{ "iface long",
	  LAN "link \"a\" { id = 1  interface = \"abcdefghijklmnop\" }\n"
	      "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\": interface \"abcdefghijklmnop\", expected an interface name of 1 to 15 characters\n" },
	{ "iface wild",
	  LAN "link \"a\" { id = 1  interface = \"ppp+\" }\n"
	      "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\": interface \"ppp+\", expected an interface name without '+'\n" },
	{ "shared iface",
	  LAN "link \"a\" { id = 1  interface = \"wan0\" }\n"
	      "link \"b\" { id = 2  interface = \"wan0\" address = \"192.0.2.1\" }\n" GROUP REST,
	  "t.conf:3: link \"b\": interface \"wan0\" is that of link \"a\" (t.conf:2) too, expected an address in both, different ones, to tell them apart\n" },
	{ "local no nat lan",
	  "local = yes\n"
	  "lan = \"wan+\"\n"
	  "link \"a\" { id = 1  interface = \"wan0\"  nat = none }\n"
	  "rule \"rest\" { use = \"a\" }\n",
	  "t.conf:3: link \"a\": local = true with a link without NAT on the LAN interface \"wan0\": the router's own connections would leave with the address of another link, and answers to them could not be told from clients' packets, expected nat, another interface, or local = false\n" },
	{ "name clash",
	  BASE "group \"a\" { links = { \"b\" } }\n"
	       "rule \"x\" { use = \"a\" protocol = \"tcp\" }\n" REST,
	  "t.conf:5: group \"a\": a link has this name too (t.conf:2), expected another: rules could mean either\n" },
	{ "bad names",
	  LAN "link \"a b\" { id = 1 interface = \"w0\" }\n"
	      "link \"\" { id = 2 interface = \"w1\" }\n"
	      "link \"x123456789012345678901234567890x\" { id = 3 interface = \"w2\" }\n"
	      "group \"-g\" { links = { \"a b\" } }\n"
	      "rule \"r;\" { use = \"-g\" }\n",
	  "t.conf:2: link \"a b\": expected a name of at most 31 letters, digits, '_', '.', '-', the first a letter or digit\n"
	  "t.conf:3: link \"\": expected a name of at most 31 letters, digits, '_', '.', '-', the first a letter or digit\n"
	  "t.conf:4: link \"x123456789012345678901234567890\": expected a name of at most 31 letters, digits, '_', '.', '-', the first a letter or digit\n"
	  "t.conf:5: group \"-g\": expected a name of at most 31 letters, digits, '_', '.', '-', the first a letter or digit\n"
	  "t.conf:6: rule \"r;\": expected a name of at most 31 letters, digits, '_', '.', '-', the first a letter or digit\n" },
	{ "bypass name",
	  LAN "link \"bypass\" { id = 1 interface = \"w0\" }\n"
	      "rule \"r\" { use = \"bypass\" }\n",
	  "t.conf:2: link \"bypass\": that name is an action, expected another\n" },
	{ "many",
	  LAN "link \"a\" {\n"
	      "\tid = 0\n"
	      "\tinterface = \"wan0\"\n"
	      "\tweight = 0 # none\n"
	      "\t/* two\n"
	      "\tlines */ table = 255\n"
	      "}\n" LINK_B "rule \"x\" {\n"
	      "\tprotocol = {\n"
	      "\t\t\"tcp\",\n"
	      "\t\t\"nope\"\n"
	      "\t}\n"
	      "\tuse = \"gone\"\n"
	      "}\n",
	  "t.conf:3: link \"a\": id 0, expected 1 to 125\n"
	  "t.conf:5: link \"a\": weight 0, expected 1 to 1000000\n"
	  "t.conf:7: link \"a\": table 255, expected a number that is not the kernel's own (0, 253, 254, 255)\n"
	  "t.conf:13: rule \"x\": protocol \"nope\", expected a name such as tcp or udp, or 0 to 255\n"
	  "t.conf:15: rule \"x\": use \"gone\", expected the name of a group or link, or bypass\n"
	  "t.conf:10: no final rule: rule \"x\" is the last and has conditions, expected one without after it, such as rule \"rest\" { use = \"GROUP\" }\n" },
};

static void wrong_wholes(void **state)
{
	(void)state;
	check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

/* Whatever condition the last rule has, it is no final rule */
static void conditional_last_rules(void **state)
{
	static const char *const conditions[] = {
		"protocol = tcp",
		"destination-port = 80",
		"source-port = 53",
		"source = \"192.0.2.0/24\"",
		"interface = \"br0\"",
		"destination = \"2001:db8::/32\"",
		"dscp = 8",
		"mark = 1",
		"from = lan",
		"destination-port-file = \"list\"",
		"from = router",
	};

	(void)state;
	write_file("list", "80");
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		char text[512];

		print_message("  %s\n", conditions[i]);
		snprintf(text, sizeof(text), "local = true\n" BASE "rule \"x\" { %s  use = \"all\" }\n", conditions[i]);
		write_file("t.conf", text);
		assert_null(
			load_file("t.conf",
				  "t.conf:6: no final rule: rule \"x\" is the last and has conditions, expected one "
				  "without after it, such as rule \"rest\" { use = \"GROUP\" }\n",
				  NULL));
	}
}

static void too_many_links(void **state)
{
	FILE *file = fopen("t.conf", "w");

	(void)state;
	fputs(LAN, file);
	for (unsigned i = 1; i <= CONFIG_MAX_LINKS + 1; i++)
		fprintf(file, "link \"l%u\" { id = %u  interface = \"wan%u\" }\n", i, i, i);
	fputs("rule \"rest\" { use = \"l1\" }\n", file);
	fclose(file);
	assert_null(load_file("t.conf", "t.conf: 65 links, expected at most 64\n", ""));
}

/* Odd but allowed: loads, and says so */
static const struct bad_case warnings[] = {
	{ "unused group", BASE "group \"idle\" { links = \"a\" }\n" REST,
	  "t.conf:5: group \"idle\": no rule uses it\n" },
	{ "unreachable rules", BASE REST "rule \"x\" { protocol = \"tcp\"  use = \"a\" }\nrule \"y\" { use = \"b\" }\n",
	  "t.conf:6: rule \"x\" and all after it never match: rule \"rest\" before it matches everything\n" },
	{ "router, not local", RULE_WITH("from = \"router\""),
	  "t.conf:5: rule \"x\": from \"router\" never matches because local is off: local = true steers the router's own "
	  "connections\n" },
	{ "router and interface", "local = true\n" RULE_WITH("from = \"router\"  interface = \"lan0\""),
	  "t.conf:6: rule \"x\": from \"router\" with interface never matches: the router's own connections come in by "
	  "none\n" },
	{ "if-down of a group", RULE_WITH("protocol = \"udp\"  if-down = \"reject\""),
	  "t.conf:5: rule \"x\": if-down has no effect: it is for rules that use one link\n" },
	{ "no lan", LINK_A "rule \"rest\" { use = \"a\" }\n", "t.conf: lan is not given: no connection is steered\n" },
	{ "key twice", LINK_WITH("weight = 2\n# again\nweight = 3"),
	  "t.conf:4: link \"a\": weight is given again, line 2 does not count\n" },
	{ "list twice", TOP("lan = { \"x\", \"y\" }\nlan += \"z\""),
	  "t.conf:3: lan is given again, line 1 does not count\n" },
	{ "prefixes of no family", LINK_WITH("prefixes6 = \"2001:db8::/48\""),
	  "t.conf:2: link \"a\": prefixes6 has no effect while gateway6 is off\n" },
	{ "link and LAN without NAT",
	  "lan = \"wan+\"\nlink \"a\" { id = 1  interface = \"wan0\"  nat = none }\nrule \"rest\" { use = \"a\" }\n",
	  "t.conf:2: link \"a\" is on the LAN interface \"wan0\" without NAT: if its gateway answers hosts there directly, the "
	  "kernel sees half of their TCP connections and loses them; nat = masquerade brings answers back here\n" },
	{ "no fallback", LINK_WITH("fallback-weight = 0"),
	  "t.conf: every fallback-weight is 0: without the daemon, new connections take the default route\n" },
};

static void odd_wholes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(warnings) / sizeof(warnings[0]); i++) {
		print_message("  %s\n", warnings[i].name);
		write_file("t.conf", warnings[i].text);
		config_free(load_file("t.conf", "", warnings[i].errors));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_wholes),
		cmocka_unit_test(conditional_last_rules),
		cmocka_unit_test(too_many_links),
		cmocka_unit_test(odd_wholes),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
