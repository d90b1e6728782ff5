/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Good configurations: what they say arrives in struct config, defaults included */
#include "config_util.h"

static const char office[] =
	"lan = { \"eth0\" }\n"
	"link \"virtua\"   { id = 1  interface = \"eth1\"  gateway = \"auto\"  weight = 2  download = \"20Mbit\"  "
	"upload = \"2Mbit\"  table = 20 }\n"
	"link \"embratel\" { id = 2  interface = \"eth2\"  gateway = \"198.51.100.1\"  table = 30 }\n"
	"group \"balanced\" { links = { \"virtua\", \"embratel\" }  sticky = \"source-destination\" }\n"
	"rule \"smtp\"   { protocol = { \"tcp\" }  destination-port = { \"smtp\" }  use = \"embratel\"  if-down = \"reject\" }\n"
	"rule \"mail\"   { protocol = { \"tcp\" }  destination-port-file = \"ports_link2\"  use = \"embratel\" }\n"
	"rule \"squid\"  { from = \"router\"  dscp = { 8 }  use = \"balanced\" }\n"
	"rule \"office\" { source = { \"10.1.0.0/24\", \"2001:db8:1::/48\" }  use = \"balanced\" }\n"
	"rule \"rest\"   { use = \"embratel\" }\n";

static struct config *load_office(void)
{
	write_file("office.conf", office);
	write_file("ports_link2", "25 110\t143 # mail\n\n  587\r\n993\n995");
	return load_file(
		"office.conf", "",
		"office.conf:7: rule \"squid\": from \"router\" never matches because local is off: local = true "
		"steers the router's own connections\n");
}

static void check_ports(const struct port_range *ranges, size_t n, const char *expected)
{
	char text[256] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%u-%u ", ranges[i].first, ranges[i].last);
	assert_string_equal(text, expected);
}

static void office_links(void **state)
{
	struct config *config = load_office();
	struct flow_addr gateway;

	(void)state;
	assert_int_equal(config->n_links, 2);
	assert_string_equal(config->links[0].name, "virtua");
	assert_int_equal(config->links[0].id, 1);
	assert_string_equal(config->links[0].interface, "eth1");
	assert_int_equal(config->links[0].gateway.kind, GATEWAY_AUTO);
	assert_int_equal(config->links[0].weight, 2);
	assert_int_equal(config->links[0].download, 20000000);
	assert_int_equal(config->links[0].upload, 2000000);
	assert_int_equal(config->links[0].table, 20);
	assert_int_equal(config->links[0].line, 2);
	assert_string_equal(config->links[0].file, "office.conf");
	assert_int_equal(config->links[1].gateway.kind, GATEWAY_ADDRESS);
	flow_addr_parse("198.51.100.1", &gateway);
	assert_memory_equal(&config->links[1].gateway.addr, &gateway, sizeof(gateway));
	assert_int_equal(config->n_groups, 1);
	assert_int_equal(config->groups[0].links, 3);
	assert_int_equal(config->groups[0].n_tiers, 1);
	config_free(config);
}

static void office_rules(void **state)
{
	struct config *config = load_office();
	const struct rule_config *rules = config->rules;

	(void)state;
	assert_int_equal(config->n_rules, 5);
	assert_int_equal(rules[0].n_protocols, 1);
	assert_int_equal(rules[0].protocols[0], 6);
	check_ports(rules[0].dports, rules[0].n_dports, "25-25 ");
	assert_int_equal(rules[0].action, RULE_LINK);
	assert_int_equal(rules[0].target, 1);
	assert_int_equal(rules[0].if_down, IF_DOWN_REJECT);
	check_ports(rules[1].dports, rules[1].n_dports, "25-25 110-110 143-143 587-587 993-993 995-995 ");
	assert_int_equal(rules[1].if_down, IF_DOWN_OTHER);
	assert_true(rules[2].from_router);
	assert_int_equal(rules[2].dscps[0], 8);
	assert_int_equal(rules[2].action, RULE_GROUP);
	assert_int_equal(rules[3].n_sources, 2);
	assert_int_equal(rules[3].sources[0].bits, 120);
	assert_int_equal(rules[3].sources[0].family, 4);
	assert_int_equal(rules[3].sources[1].bits, 48);
	assert_int_equal(rules[3].sources[1].family, 6);
	assert_true(rule_matches_all(&rules[4]));
	assert_int_equal(rules[4].line, 9);
	assert_int_equal(config->n_files, 2);
	assert_string_equal(config->files[1], "ports_link2");
	config_free(config);
}

static void defaults(void **state)
{
	struct config *config = load_text(LAN LINK_A "group \"g\" { links = \"a\" }\nrule \"rest\" { use = \"g\" }\n");
	const struct link_config *link = &config->links[0];

	(void)state;
	assert_int_equal(config->mask, 0xff00);
	assert_int_equal(config->queue_first, 0);
	assert_int_equal(config->queues, 1);
	assert_int_equal(config->queue_length, 4096);
	assert_true(config->fallback);
	assert_false(config->local);
	assert_false(config->offload);
	assert_int_equal(config->ip_forward, IP_FORWARD_SET);
	assert_int_equal(config->source_limit, 5000);
	assert_int_equal(config->sticky_entries, 65536);
	assert_int_equal(config->rule_preference, 10000);
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	assert_string_equal(config->socket, "/run/nfq-balancer/control.sock");
	assert_null(config->socket_group);
	assert_string_equal(config->user, "nfq-balancer");
	assert_string_equal(config->state_directory, "/var/lib/nfq-balancer");
	assert_string_equal(config->file, "t.conf");
	assert_int_equal(link->weight, 1);
	assert_int_equal(link->table, 101);
	assert_int_equal(link->gateway.kind, GATEWAY_AUTO);
	assert_int_equal(link->gateway6.kind, GATEWAY_OFF);
	assert_int_equal(link->nat.kind, NAT_MASQUERADE);
	assert_int_equal(link->nat6.kind, NAT_NONE);
	assert_int_equal(link->download, 0);
	assert_false(link->has_address);
	assert_int_equal(config->groups[0].scheduler, SCHED_LEAST_LOAD);
	assert_int_equal(config->groups[0].sticky, STICKY_SOURCE_DESTINATION);
	assert_int_equal(config->groups[0].sticky_timeout, 600);
	config_free(config);
}

static void top_keys(void **state)
{
	struct config *config = load_text(
		"mask = 0x3f0000\nqueue = 10\nqueues = 4\nqueue-length = 99\nspin = 50\npin = { 3, 0 }\nfallback = no\nlocal = on\noffload = on\n"
		"ip-forward = keep\nhelpers = { ftp, \"sip\", ftp }\nsource-limit = 0\nsticky-entries = 1000\n"
		"feedback-interval = 0\nrule-preference = 77\nrun-directory = /run/x\nuser = nobody\nsocket-group = adm\n"
		"state-directory = '/var/x'\nlog-level = debug\nlan = { \"br0\", \"ppp+\" }\n" LINK_A LINK_B GROUP
			REST);

	(void)state;
	assert_int_equal(config->mask, 0x3f0000);
	assert_int_equal(config->queue_first, 10);
	assert_int_equal(config->queues, 4);
	assert_int_equal(config->queue_length, 99);
	assert_int_equal(config->spin, 50);
	assert_int_equal(config->pin.kind, PIN_LIST);
	assert_int_equal(config->pin.n_cpus, 2);
	assert_int_equal(config->pin.cpus[0], 3);
	assert_int_equal(config->pin.cpus[1], 0);
	assert_false(config->fallback);
	assert_true(config->local);
	assert_true(config->offload);
	assert_int_equal(config->feedback_interval, 0);
	assert_int_equal(config->ip_forward, IP_FORWARD_KEEP);
	assert_int_equal(config->n_helpers, 2);
	assert_int_equal(config->source_limit, 0);
	assert_int_equal(config->sticky_entries, 1000);
	assert_int_equal(config->rule_preference, 77);
	assert_string_equal(config->socket, "/run/x/control.sock"); /* follows run-directory */
	assert_string_equal(config->socket_group, "adm");
	assert_string_equal(config->user, "nobody");
	assert_string_equal(config->state_directory, "/var/x");
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(config->n_lan, 2);
	config_free(config);
}

static void capacities(void **state)
{
	static const struct {
		const char *text;
		uint64_t capacity;
	} cases[] = {
		{ "20Mbit", 20000000 },	  { "2.5Gbit", 2500000000 }, { "512kbit", 512000 }, { "9600bit", 9600 },
		{ "1G", 1000000000 },	  { "10 Mbit/s", 10000000 }, { "300bit", 300 },	    { "0.5M", 500000 },
		{ "1.544Mbit", 1544000 }, { "16k", 16000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char shown[CAPACITY_STRLEN], text[256];
		struct config *config;

		snprintf(text, sizeof(text), LINK_WITH("download = \"%s\""), cases[i].text);
		config = load_text(text);
		assert_int_equal(config->links[0].download, cases[i].capacity);
		/* what is printed reads back as the same */
		snprintf(text, sizeof(text), LINK_WITH("download = \"%s\""), capacity_str(cases[i].capacity, shown));
		config_free(config);
		config = load_text(text);
		assert_int_equal(config->links[0].download, cases[i].capacity);
		config_free(config);
	}
}

static void links_of_both_families(void **state)
{
	struct config *config = load_text(
		LAN
		"link \"b\" { id = 7  interface = \"w0\"  address = \"192.0.2.2\"  nat = \"192.0.2.2\"  table-name = \"isp\" }\n"
		"link \"a\" { id = 3  interface = \"w0\"  address = \"192.0.2.3\"  gateway = off  gateway6 = \"fe80::1\"\n"
		"  prefixes6 = { \"2001:db8:1::/48\", \"2001:db8:2::/64\" }  table = 4000000000 }\n"
		"link \"c\" { id = 5  interface = \"ppp0\"  gateway = none  gateway6 = none  nat6 = masquerade }\n"
		"rule \"rest\" { use = bypass }\n");

	(void)state;
	/* in order of id, whatever the file's order */
	assert_int_equal(config->links[0].id, 3);
	assert_int_equal(config->links[1].id, 5);
	assert_int_equal(config->links[2].id, 7);
	assert_int_equal(config->links[0].gateway.kind, GATEWAY_OFF);
	assert_int_equal(config->links[0].gateway6.kind, GATEWAY_ADDRESS);
	assert_int_equal(config->links[0].n_prefixes6, 2);
	assert_int_equal(config->links[0].table, 4000000000);
	assert_int_equal(config->links[1].gateway.kind, GATEWAY_NONE);
	assert_int_equal(config->links[1].nat6.kind, NAT_MASQUERADE);
	assert_int_equal(config->links[2].nat.kind, NAT_SNAT);
	assert_string_equal(config->links[2].table_name, "isp");
	assert_true(config->links[2].has_address);
	assert_int_equal(config->rules[0].action, RULE_BYPASS);
	config_free(config);
}

static void tiers(void **state)
{
	struct config *config = load_text(
		LAN LINK_A LINK_B "link \"lte\" { id = 3  interface = \"wwan0\"  weight = 5 }\n"
				  "group \"all\" {\n  links = { \"a\", \"b\" }\n  tier 2 { links = { \"lte\" } }\n"
				  "  scheduler = hash\n  sticky = source\n  sticky-timeout = \"2h\"\n}\n" REST);
	const struct group_config *group = &config->groups[0];

	(void)state;
	assert_int_equal(group->links, 7);
	assert_int_equal(group->n_tiers, 2);
	assert_int_equal(group->tier[0], 1);
	assert_int_equal(group->tier[1], 1);
	assert_int_equal(group->tier[2], 2);
	assert_int_equal(group->scheduler, SCHED_HASH);
	assert_int_equal(group->sticky, STICKY_SOURCE);
	assert_int_equal(group->sticky_timeout, 7200);
	assert_int_equal(group->spill_at, 80);
	/* the fallback knows no tiers: the lower one has no share */
	assert_int_equal(config->links[0].fallback_weight, 1);
	assert_int_equal(config->links[2].fallback_weight, 0);
	config_free(config);
}

/* spillover goes by the order of the list, not of the ids */
static void spillover(void **state)
{
	struct config *config =
		load_text(LAN LINK_A LINK_B "group \"all\" { links = { \"b\", \"a\" } scheduler = spillover "
					    "spill-at = 65 }\n" REST);

	(void)state;
	assert_int_equal(config->groups[0].scheduler, SCHED_SPILLOVER);
	assert_int_equal(config->groups[0].spill_at, 65);
	assert_int_equal(config->groups[0].rank[0], 1);
	assert_int_equal(config->groups[0].rank[1], 0);
	config_free(config);
}

static void fallback_weights(void **state)
{
	struct config *config =
		load_text(LAN "link \"a\" { id = 1  interface = \"w0\"  weight = 3 }\n" LINK_B GROUP REST);

	(void)state;
	assert_int_equal(config->links[0].fallback_weight, 3);
	assert_int_equal(config->links[1].fallback_weight, 1);
	config_free(config);
	config = load_text(LAN "link \"a\" { id = 1  interface = \"w0\"  weight = 3 }\n" LINK_B
			       "rule \"r\" { use = \"a\" }\n");
	assert_int_equal(config->links[0].fallback_weight, 3);
	assert_int_equal(config->links[1].fallback_weight, 0);
	config_free(config);
	config = load_text(LAN LINK_A "rule \"r\" { use = \"bypass\" }\n");
	assert_int_equal(config->links[0].fallback_weight, 0);
	config_free(config);
	config = load_text(LAN "link \"a\" { id = 1  interface = \"w0\"  fallback-weight = 9 }\n" LINK_B GROUP REST);
	assert_int_equal(config->links[0].fallback_weight, 9);
	assert_int_equal(config->links[1].fallback_weight, 0);
	config_free(config);
}

static void rule_conditions(void **state)
{
	struct config *config = load_text(
		BASE "rule \"x\" {\n  protocol = { udp, UDP, 132 }\n"
		     "  destination-port = { https, \"1000-2000\", \"3000:3001\", 7, \"ftp-data\" }\n"
		     "  source-port = 53\n  destination = { \"203.0.113.7\", \"2001:db8::/32\", \"0.0.0.0/0\" }\n"
		     "  interface = { \"br0\", \"br1\" }  from = lan  dscp = { EF, cs1, 63 }\n"
		     "  mark = { \"0x40000/0xff0000\", 5 }  use = \"all\"\n}\n"
		     "rule \"y\" { interface = \"br1\"  use = \"a\" }\n" REST);
	const struct rule_config *rule = &config->rules[0];

	(void)state;
	assert_int_equal(rule->n_protocols, 3);
	assert_int_equal(rule->protocols[2], 132);
	check_ports(rule->dports, rule->n_dports, "443-443 1000-2000 3000-3001 7-7 20-20 ");
	check_ports(rule->sports, rule->n_sports, "53-53 ");
	assert_int_equal(rule->n_destinations, 3);
	assert_int_equal(rule->destinations[0].bits, 128);
	assert_int_equal(rule->destinations[2].bits, 96);
	assert_int_equal(rule->n_ifaces, 2);
	assert_int_equal(rule->ifaces[1], 2);
	assert_int_equal(config->rules[1].ifaces[0], 2);
	assert_string_equal(config->ifaces[1], "br1");
	assert_true(rule->from_lan);
	assert_int_equal(rule->dscps[0], 46);
	assert_int_equal(rule->dscps[1], 8);
	assert_int_equal(rule->marks[0].value, 0x40000);
	assert_int_equal(rule->marks[0].mask, 0xff0000);
	assert_int_equal(rule->marks[1].value, 5);
	assert_int_equal(rule->marks[1].mask, 0xffff00ff);
	config_free(config);
}

/* Names that /etc/services lacks on some systems or on all ("rdp") */
static void service_names(void **state)
{
	struct config *config =
		load_text(BASE "rule \"x\" { protocol = { tcp, udp }  use = \"a\"\n"
			       "  destination-port = { rdp, submissions, \"domain-s\", \"wireguard\" } }\n" REST);

	(void)state;
	check_ports(config->rules[0].dports, config->rules[0].n_dports, "3389-3389 465-465 853-853 51820-51820 ");
	config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(office_links),
		cmocka_unit_test(office_rules),
		cmocka_unit_test(defaults),
		cmocka_unit_test(top_keys),
		cmocka_unit_test(capacities),
		cmocka_unit_test(links_of_both_families),
		cmocka_unit_test(tiers),
		cmocka_unit_test(spillover),
		cmocka_unit_test(fallback_weights),
		cmocka_unit_test(rule_conditions),
		cmocka_unit_test(service_names),
	};

	return cmocka_run_group_tests(tests, directory_enter, directory_leave);
}
