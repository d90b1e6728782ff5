/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wrong values: each with its file, line, value and what was expected */
#include "config_util.h"

static const struct bad_case cases[] = {
	{ "weight 0", LINK_WITH("weight = 0"), "t.conf:2: link \"a\": weight 0, expected 1 to 1000000\n" },
	{ "weight huge", LINK_WITH("weight = 1000001"),
	  "t.conf:2: link \"a\": weight 1000001, expected 1 to 1000000\n" },
	{ "weight neg", LINK_WITH("weight = -1"), "t.conf:2: link \"a\": weight -1, expected 1 to 1000000\n" },
	{ "weight word", LINK_WITH("weight = heavy"),
	  "t.conf:2: link \"a\": weight \"heavy\", expected 1 to 1000000\n" },
	{ "weight 2x", LINK_WITH("weight = \"2 \""), "t.conf:2: link \"a\": weight \"2 \", expected 1 to 1000000\n" },
	{ "weight big", LINK_WITH("weight = 99999999999999999999"),
	  "t.conf:2: link \"a\": weight 99999999999999999999, expected 1 to 1000000\n" },
	{ "group empty links", GROUP_WITH("links = {}"),
	  "t.conf:4: group \"all\": no links, expected links = { ... } with at least one\n" },
	{ "group unknown link", GROUP_WITH("links = { \"a\", \"c\" }"),
	  "t.conf:4: group \"all\": links \"c\", expected the name of a link\n" },
	{ "group link twice", GROUP_WITH("links = { \"a\", \"a\" }"),
	  "t.conf:4: group \"all\": links \"a\", expected each link once in a group\n" },
	{ "group twice in tiers", GROUP_WITH("links = { \"a\", \"b\" } tier 2 { links = { \"b\" } }"),
	  "t.conf:4: group \"all\": links \"b\", expected each link once in a group\n" },
	{ "tier 1", GROUP_WITH("links = { \"a\" } tier 1 { links = { \"b\" } }"),
	  "t.conf:4: group \"all\": tier 1, expected 2 to 16 (the group's own links are tier 1)\n" },
	{ "tier none", GROUP_WITH("links = { \"a\" } tier 2 { }"),
	  "t.conf:4: group \"all\": tier 2 has no links, expected links = { ... }\n" },
	{ "scheduler", GROUP_WITH("links = { \"a\" } scheduler = \"nth\""),
	  "t.conf:4: group \"all\": scheduler \"nth\", expected wrr, hash, least-load, spillover or latency\n" },
	{ "spill-at", GROUP_WITH("links = { \"a\" } spill-at = 101"),
	  "t.conf:4: group \"all\": spill-at 101, expected 1 to 100\n" },
	{ "sticky", GROUP_WITH("links = { \"a\" } sticky = \"destination\""),
	  "t.conf:4: group \"all\": sticky \"destination\", expected none, source or source-destination\n" },
	{ "sticky-timeout", GROUP_WITH("links = { \"a\" } sticky-timeout = \"0\""),
	  "t.conf:4: group \"all\": sticky-timeout 0, expected 1 to 2592000 seconds, or a number with s, m, h or d\n" },
	{ "sticky-timeout2", GROUP_WITH("links = { \"a\" } sticky-timeout = \"10 weeks\""),
	  "t.conf:4: group \"all\": sticky-timeout \"10 weeks\", expected 1 to 2592000 seconds, or a number with s, m, h or d\n" },
	{ "mask 0", TOP("mask = 0"),
	  "t.conf:1: mask 0, expected a 32-bit number with contiguous bits, such as 0xff00\n" },
	{ "mask narrow", TOP("mask = 0x300"),
	  "t.conf:1: mask 0x300, expected at least 3 bits, which leave room for one link\n" },
	{ "mask all", TOP("mask = 0xffffffff"), "t.conf:1: mask 0xffffffff, expected at most 31 bits\n" },
	{ "mask holes", TOP("mask = 0xf0f0"), "t.conf:1: mask 0xf0f0, expected contiguous bits, such as 0xff00\n" },
	{ "mask text", TOP("mask = blue"),
	  "t.conf:1: mask \"blue\", expected a 32-bit number with contiguous bits, such as 0xff00\n" },
	{ "mask 33", TOP("mask = 0x1ff000000"),
	  "t.conf:1: mask 0x1ff000000, expected a 32-bit number with contiguous bits, such as 0xff00\n" },
	{ "spin", TOP("spin = 10001"), "t.conf:1: spin 10001, expected 0 to 10000\n" },
	{ "feedback-interval", TOP("feedback-interval = 10001"),
	  "t.conf:1: feedback-interval 10001, expected 0 to 10000\n" },
	{ "feedback-interval below", TOP("feedback-interval = -1"),
	  "t.conf:1: feedback-interval -1, expected 0 to 10000\n" },
	{ "feedback-interval word", TOP("feedback-interval = 1ms"),
	  "t.conf:1: feedback-interval 1ms, expected 0 to 10000\n" },
	{ "pin word", TOP("pin = on"),
	  "t.conf:1: pin \"on\", expected off, auto, or a list of processors, each 0 to 1023\n" },
	{ "pin high", TOP("pin = { 0, 1024 }"),
	  "t.conf:1: pin 1024, expected off, auto, or a list of processors, each 0 to 1023\n" },
	{ "pin mixed", TOP("pin = { 0, auto }"),
	  "t.conf:1: pin \"auto\", expected off, auto, or a list of processors, each 0 to 1023\n" },
	{ "mask too narrow for id", TOP("mask = 0x700"),
	  "t.conf:4: link \"b\": id 2, expected 1 to 1: mask 0x700 is too narrow for more\n" },
	{ "port file missing", RULE_WITH("protocol = \"tcp\" destination-port-file = \"nowhere\""),
	  "t.conf:5: rule \"x\": destination-port-file \"nowhere\": No such file or directory, expected a readable file of ports\n" },
	{ "port file bad", RULE_WITH("protocol = \"tcp\" destination-port-file = \"ports\""),
	  "ports:2: rule \"x\": destination-port-file \"bad\", expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "ports:4: rule \"x\": destination-port-file 70000, expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "ports:5: rule \"x\": destination-port-file 5-4, expected the lower port of the range first\n" },
	{ "port file empty", RULE_WITH("protocol = \"tcp\" destination-port-file = \"empty\""),
	  "empty: rule \"x\": destination-port-file: no port in this file, expected at least one\n" },
	{ "reserved table", LINK_WITH("table = 254"),
	  "t.conf:2: link \"a\": table 254, expected a number that is not the kernel's own (0, 253, 254, 255)\n" },
	{ "table 0", LINK_WITH("table = 0"),
	  "t.conf:2: link \"a\": table 0, expected a number that is not the kernel's own (0, 253, 254, 255)\n" },
	{ "table name main", LINK_WITH("table-name = \"main\""),
	  "t.conf:2: link \"a\": table-name \"main\", expected a name of at most 31 letters, digits, '_', '.', '-', not the kernel's own\n" },
	{ "snat family", LINK_WITH("nat = \"2001:db8::1\""),
	  "t.conf:2: link \"a\": nat 2001:db8::1, expected an IPv4 address, masquerade or none\n" },
	{ "snat6 family", LINK_WITH("nat6 = \"192.0.2.1\""),
	  "t.conf:2: link \"a\": nat6 192.0.2.1, expected an IPv6 address, masquerade or none\n" },
	{ "gw family", LINK_WITH("gateway = \"2001:db8::1\""),
	  "t.conf:2: link \"a\": gateway 2001:db8::1, expected an IPv4 address, auto, none or off\n" },
	{ "gw6 family", LINK_WITH("gateway6 = \"192.0.2.1\""),
	  "t.conf:2: link \"a\": gateway6 192.0.2.1, expected an IPv6 address, auto, none or off\n" },
	{ "gw6 no prefix", LINK_WITH("gateway6 = \"fe80::1\""),
	  "t.conf:2: link \"a\": gateway6 without nat6 needs prefixes6, expected the prefix that this provider routes to you, such as prefixes6 = { \"2001:db8:1::/48\" }, or \"::/0\" for any\n" },
	{ "both off", LINK_WITH("gateway = off"),
	  "t.conf:2: link \"a\": gateway and gateway6 are off, expected at least one of them\n" },
	{ "prefix family", LINK_WITH("gateway6 = auto prefixes6 = { \"192.0.2.0/24\" }"),
	  "t.conf:2: link \"a\": prefixes6 192.0.2.0/24, expected an IPv6 network\n" },
	{ "prefix text", LINK_WITH("gateway6 = auto prefixes6 = { \"x\" }"),
	  "t.conf:2: link \"a\": prefixes6 \"x\", expected an IPv6 network such as 2001:db8::/48\n" },
	{ "address", LINK_WITH("address = \"x\""),
	  "t.conf:2: link \"a\": address \"x\", expected an IPv4 or IPv6 address\n" },
	{ "capacity B", LINK_WITH("download = \"20MB\""),
	  "t.conf:2: link \"a\": download 20MB, expected bits per second, not bytes: a number with bit, kbit, Mbit or Gbit\n" },
	{ "capacity without unit", LINK_WITH("download = 100 upload = \"9.6\""),
	  "t.conf:2: link \"a\": download 100, expected bits per second: a number with bit, kbit, Mbit or Gbit, such as \"20Mbit\"\n"
	  "t.conf:2: link \"a\": upload 9.6, expected bits per second: a number with bit, kbit, Mbit or Gbit, such as \"20Mbit\"\n" },
	{ "capacity x", LINK_WITH("download = \"fast\" upload = \"0\""),
	  "t.conf:2: link \"a\": download \"fast\", expected bits per second: a number with bit, kbit, Mbit or Gbit, such as \"20Mbit\"\n"
	  "t.conf:2: link \"a\": upload 0, expected bits per second: a number with bit, kbit, Mbit or Gbit, such as \"20Mbit\"\n" },
	{ "ports",
	  RULE_WITH(
		  "protocol = \"tcp\" destination-port = { 0, 65536, \"20-10\", \"1-\", \"nosuch\", \"1:70000\", \"\" }"),
	  "t.conf:5: rule \"x\": destination-port 0, expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "t.conf:5: rule \"x\": destination-port 65536, expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "t.conf:5: rule \"x\": destination-port 20-10, expected the lower port of the range first\n"
	  "t.conf:5: rule \"x\": destination-port 1-, expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "t.conf:5: rule \"x\": destination-port \"nosuch\", expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "t.conf:5: rule \"x\": destination-port 1:70000, expected 1 to 65535, a range such as 1000-2000, or a service name\n"
	  "t.conf:5: rule \"x\": destination-port \"\", expected 1 to 65535, a range such as 1000-2000, or a service name\n" },
	{ "ports of icmp", RULE_WITH("protocol = { \"tcp\", \"icmp\" } destination-port = 80"),
	  "t.conf:5: rule \"x\": protocol icmp has no ports, expected tcp, udp, udplite, sctp or dccp beside a port\n" },
	{ "protocol", RULE_WITH("protocol = { \"tpc\", 256, -1 }"),
	  "t.conf:5: rule \"x\": protocol \"tpc\", expected a name such as tcp or udp, or 0 to 255\n"
	  "t.conf:5: rule \"x\": protocol 256, expected a name such as tcp or udp, or 0 to 255\n"
	  "t.conf:5: rule \"x\": protocol -1, expected a name such as tcp or udp, or 0 to 255\n" },
	{ "net",
	  RULE_WITH(
		  "source = { \"192.0.2.1/24\", \"2001:db8::1/32\", \"192.0.2.0/33\", \"nonsense\", \"192.0.2/24\" }"),
	  "t.conf:5: rule \"x\": source 192.0.2.1/24, expected a network without host bits: 192.0.2.0/24\n"
	  "t.conf:5: rule \"x\": source 2001:db8::1/32, expected a network without host bits: 2001:db8::/32\n"
	  "t.conf:5: rule \"x\": source 192.0.2.0/33, expected a network such as 192.0.2.0/24 or 2001:db8::/48\n"
	  "t.conf:5: rule \"x\": source \"nonsense\", expected a network such as 192.0.2.0/24 or 2001:db8::/48\n"
	  "t.conf:5: rule \"x\": source 192.0.2/24, expected a network such as 192.0.2.0/24 or 2001:db8::/48\n" },
	{ "empty list", RULE_WITH("source = { }"),
	  "t.conf:5: rule \"x\": source is an empty list, expected values or no such key\n" },
	{ "dscp", RULE_WITH("dscp = { 64, \"AF14\" }"),
	  "t.conf:5: rule \"x\": dscp 64, expected 0 to 63, or a class such as CS1, AF41 or EF\n"
	  "t.conf:5: rule \"x\": dscp \"AF14\", expected 0 to 63, or a class such as CS1, AF41 or EF\n" },
	{ "mark",
	  RULE_WITH(
		  "mark = { \"0x100\", \"0x0/0xff\", \"0x1/0x2\", \"x\", \"0x100000000\", \"0x40000/0x1ff0000\" , \"0x40000/0xf00\"}"),
	  "t.conf:5: rule \"x\": mark 0x100, expected bits outside of mask 0xff00, which are ours: 0x100 overlaps\n"
	  "t.conf:5: rule \"x\": mark 0x1/0x2, expected a value within its mask: 0x1 is outside and never matches\n"
	  "t.conf:5: rule \"x\": mark \"x\", expected VALUE or VALUE/MASK, such as 0x40000/0xff0000\n"
	  "t.conf:5: rule \"x\": mark 0x100000000, expected VALUE or VALUE/MASK, such as 0x40000/0xff0000\n"
	  "t.conf:5: rule \"x\": mark 0x40000/0xf00, expected bits outside of mask 0xff00, which are ours: 0xf00 overlaps\n" },
	{ "from", RULE_WITH("from = \"wan\""), "t.conf:5: rule \"x\": from \"wan\", expected any, router or lan\n" },
	{ "if-down", RULE_WITH("if-down = \"drop\""),
	  "t.conf:5: rule \"x\": if-down \"drop\", expected other or reject\n" },
	{ "rule iface", RULE_WITH("interface = \"eth 0\""),
	  "t.conf:5: rule \"x\": interface \"eth 0\", expected an interface name without ' '\n" },
	{ "alias", RULE_WITH("interface = { \"eth0:1\", \"eth0\xe9\", \"ppp+\", \"ppp+0\" }"),
	  "t.conf:5: rule \"x\": interface \"eth0:1\", expected an interface name without ':'\n"
	  "t.conf:5: rule \"x\": interface \"eth0?\", expected an interface name without '?'\n"
	  "t.conf:5: rule \"x\": interface \"ppp+\", expected an interface name without '+'\n"
	  "t.conf:5: rule \"x\": interface \"ppp+0\", expected an interface name without '+'\n" },
	{ "bools", TOP("fallback = maybe"), "t.conf:1: fallback \"maybe\", expected true or false\n" },
	{ "numbers",
	  TOP("queue = 65536\n"
	      "queues = 0\n"
	      "queue-length = 0\n"
	      "source-limit = x\n"
	      "sticky-entries = 1\n"
	      "rule-preference = 32766\n"
	      "log-level = loud\n"
	      "ip-forward = off\n"
	      "helpers = { \"ftp\", \"quake\" }"),
	  "t.conf:1: queue 65536, expected 0 to 65535\n"
	  "t.conf:2: queues 0, expected 1 to 64\n"
	  "t.conf:3: queue-length 0, expected 1 to 65536\n"
	  "t.conf:9: helpers \"quake\", expected ftp, sip, tftp, irc, pptp, amanda, sane, snmp, netbios-ns, Q.931 or RAS\n"
	  "t.conf:4: source-limit \"x\", expected 0 to 10000000\n"
	  "t.conf:5: sticky-entries 1, expected 64 to 16777216\n"
	  "t.conf:8: ip-forward \"off\", expected set or keep\n"
	  "t.conf:6: rule-preference 32766, expected 1 to 32700\n"
	  "t.conf:7: log-level \"loud\", expected error, warning, info or debug\n" },
	{ "queues over",
	  TOP("queue = 65535\n"
	      "queues = 2"),
	  "t.conf:2: queues 2, expected at most 1 from queue 65535 on\n" },
	{ "paths",
	  TOP("run-directory = \"run\"\n"
	      "socket = \"x y\"\n"
	      "user = \"a b\"\n"
	      "state-directory = \"\"\n"
	      "socket-group = \"\""),
	  "t.conf:1: run-directory \"run\", expected an absolute path without spaces\n"
	  "t.conf:4: state-directory \"\", expected an absolute path without spaces\n"
	  "t.conf:2: socket \"x y\", expected an absolute path without spaces\n"
	  "t.conf:3: user \"a b\", expected a name of at most 31 characters\n"
	  "t.conf:5: socket-group \"\", expected a name of at most 31 characters\n" },
};

static void wrong_values(void **state)
{
	(void)state;
	write_file("ports", "80\n443 bad # 99\n\n1000-2000 70000\n5-4\n");
	write_file("empty", "# none\n\n");
	check_cases(cases, sizeof(cases) / sizeof(cases[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_values),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
