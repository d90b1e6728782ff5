/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config.h - what a configuration says, as plain data
 *
 * Made by config_load() (policy/config_file.h) or by a test, read by everybody,
 * changed by nobody afterwards. Strings and arrays belong to the struct and are
 * freed by config_free(). Units: bit/s for capacities, seconds for timeouts.
 */
#ifndef POLICY_CONFIG_H
#define POLICY_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/flow.h"

#define CONFIG_MAX_LINKS 64 /* one bit each in a uint64_t */
#define CONFIG_MAX_GROUPS 256
#define CONFIG_MAX_QUEUES 64
#define CONFIG_MAX_IFACES 1024 /* that rules name */
#define CONFIG_MAX_WEIGHT 1000000
#define CONFIG_NAME_MAX 31 /* [A-Za-z0-9_.-], the first a letter or digit */
#define CONFIG_IFNAME_MAX 15

/* ---- links ---- */

enum gateway_kind {
	GATEWAY_OFF, /* the link does not carry this family */
	GATEWAY_ADDRESS,
	GATEWAY_AUTO, /* follow main's default route of the interface (DHCP, PPP, RA) */
	GATEWAY_NONE, /* point to point: default via the interface alone */
};

struct gateway {
	enum gateway_kind kind;
	struct flow_addr addr; /* GATEWAY_ADDRESS */
};

enum nat_kind {
	NAT_NONE,
	NAT_MASQUERADE,
	NAT_SNAT,
};

struct nat {
	enum nat_kind kind;
	struct flow_addr addr; /* NAT_SNAT */
};

struct link_config {
	char name[CONFIG_NAME_MAX + 1];
	char interface[CONFIG_IFNAME_MAX + 1];
	char table_name[CONFIG_NAME_MAX + 1]; /* name for rt_tables.d, or "" */
	unsigned id; /* 1..config_max_id(); links are kept in this order */
	uint32_t weight; /* 1..CONFIG_MAX_WEIGHT */
	uint32_t fallback_weight; /* share in the kernel's fallback; 0: none */
	uint64_t download; /* bit/s, 0: not stated */
	uint64_t upload; /* bit/s, 0: not stated */
	uint32_t table; /* routing table number */
	struct gateway gateway; /* IPv4 */
	struct gateway gateway6;
	struct nat nat; /* IPv4 */
	struct nat nat6;
	bool has_address; /* several links on one interface are told apart by the router's address on each */
	struct flow_addr address;
	struct flow_net *prefixes6; /* IPv6 prefixes this provider routes; n may be 0 */
	size_t n_prefixes6;
	unsigned line; /* in the file that defined it */
	const char *file; /* interned in struct config */
};

/* ---- groups ---- */

enum scheduler {
	SCHED_WRR,
	SCHED_HASH,
	SCHED_LEAST_LOAD,
	SCHED_SPILLOVER,
	SCHED_LATENCY,
	SCHEDULERS
};

enum sticky_kind {
	STICKY_NONE,
	STICKY_SOURCE,
	STICKY_SOURCE_DESTINATION,
};

struct group_config {
	char name[CONFIG_NAME_MAX + 1];
	enum scheduler scheduler;
	enum sticky_kind sticky;
	uint32_t sticky_timeout; /* seconds */
	uint64_t links; /* bit i: links[i] is a member */
	uint8_t tier[CONFIG_MAX_LINKS]; /* by link index; 1 is used first */
	uint8_t rank[CONFIG_MAX_LINKS]; /* by link index: place in the group's list; spillover fills low ones first */
	unsigned spill_at; /* percent of its capacity from which on a link counts as loaded */
	unsigned n_tiers; /* highest tier in use */
	unsigned slot; /* 0..CONFIG_MAX_GROUPS-1; kept by name over reloads (config_inherit()) */
	unsigned line;
	const char *file;
};

/* ---- rules ---- */

struct port_range {
	uint16_t first, last; /* inclusive, host byte order */
};

enum rule_action {
	RULE_GROUP,
	RULE_LINK,
	RULE_BYPASS,
};

enum if_down {
	IF_DOWN_OTHER, /* any other usable link, by weight */
	IF_DOWN_REJECT, /* a clear error to the client */
};

struct mark_match {
	uint32_t value, mask;
};

/* Every list: n == 0 means "any". Conditions of one rule are ANDed, entries of one list ORed. */
struct rule_config {
	char name[CONFIG_NAME_MAX + 1];
	uint8_t *protocols;
	size_t n_protocols;
	struct port_range *dports;
	size_t n_dports;
	struct port_range *sports;
	size_t n_sports;
	struct flow_net *sources;
	size_t n_sources;
	struct flow_net *destinations;
	size_t n_destinations;
	uint16_t *ifaces; /* slots into config.ifaces, 1-based */
	size_t n_ifaces;
	uint8_t *dscps;
	size_t n_dscps;
	struct mark_match *marks; /* foreign bits of the packet mark: never inside config.mask */
	size_t n_marks;
	bool from_router; /* only the router's own connections */
	bool from_lan; /* only forwarded connections */
	enum rule_action action;
	unsigned target; /* index into groups or links */
	enum if_down if_down;
	unsigned line;
	const char *file;
};

/* ---- the whole ---- */

enum log_level {
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

enum pin_kind {
	PIN_OFF,
	PIN_AUTO, /* one processor after another of those that the process may use */
	PIN_LIST,
};

/* Where the workers run */
struct pin_config {
	enum pin_kind kind;
	uint16_t *cpus; /* PIN_LIST: worker i on cpus[i modulo n_cpus] */
	size_t n_cpus;
	unsigned line; /* of the last entry */
	const char *file;
};

enum ip_forward {
	IP_FORWARD_SET, /* start turns it on, stop puts it back (default) */
	IP_FORWARD_KEEP, /* leave it alone; check warns when it is off */
};

struct config {
	/* links in order of id, groups and rules in order of the file */
	struct link_config *links;
	size_t n_links;
	struct group_config *groups;
	size_t n_groups;
	struct rule_config *rules;
	size_t n_rules;
	unsigned final_rule; /* the first that matches everything */
	bool fallback_weight_stated; /* by some link: the fallback's ratio is the file's, whatever changes at run time */

	char **lan; /* interfaces of the LAN; "eth1.*" style wildcards are not allowed, "ppp+" is */
	size_t n_lan;
	char **ifaces; /* names that rules match on; slot s is ifaces[s - 1] */
	size_t n_ifaces;
	char **helpers; /* "ftp", "sip", ... */
	size_t n_helpers;

	uint32_t mask; /* contiguous bits of the mark that are ours */
	unsigned queue_first; /* NFQUEUE numbers queue_first .. queue_first + queues - 1 */
	unsigned queues;
	uint32_t queue_length; /* packets, per queue */
	uint32_t spin; /* us: how long a worker looks for the next packet before it sleeps */
	struct pin_config pin;
	uint32_t source_limit; /* new flows/s of one source before the fallback takes the rest; 0: no limit */
	uint32_t sticky_entries; /* bound of the sticky table */
	bool fallback; /* false: new flows wait for the daemon or are dropped */
	bool local; /* steer the router's own connections */
	bool feedback; /* follow the kernel's connections, to know which flows are sending */
	unsigned feedback_budget; /* percent of one processor that this may take */
	uint32_t feedback_interval; /* us, from one look at the events to the next; 0: each wakes the control thread */
	bool offload; /* settled flows take the kernel's flowtable, past the hooks */
	enum ip_forward ip_forward;
	unsigned rule_preference; /* first of the ip rule preferences used */
	enum log_level log_level;

	char *socket; /* path of the control socket */
	char *socket_group; /* group that may use it, or NULL */
	char *user; /* service user */
	char *run_directory; /* rules.state, control socket */
	char *state_directory; /* runtime.conf */

	char *file; /* as given to config_load() */
	char **files; /* every file read, the first one included */
	size_t n_files;
	uint64_t checksum; /* of the bytes of all files: "file unchanged" */
};

/* ---- the mark (NOTES.md, "The mark") ----
 * Inside the mask, the top bit is `settled`: routing has confirmed the link, the
 * flow's table comes before main. The other bits are the link id, with
 *   id 0, settled      a packet that waits for a decision (queue, then fallback)
 *   all ones           `main`: not ours to steer (bypass, LAN to LAN, VPN)
 *   all ones but one   (id = all ones - 1) `reject`: a prohibit rule answers it
 */
unsigned config_mark_shift(uint32_t mask);
unsigned config_max_id(uint32_t mask); /* highest link id that the mask has room for */
uint32_t config_mark_settled(uint32_t mask); /* the top bit of the mask */
uint32_t config_mark_link(uint32_t mask, unsigned id); /* id in place, not settled */
uint32_t config_mark_main(uint32_t mask);
uint32_t config_mark_reject(uint32_t mask);
/* id of the link a mark names, settled or not; 0 when it names none (foreign, main, reject) */
unsigned config_mark_id(uint32_t mask, uint32_t mark);

void config_free(struct config *config);

/* Index of the link with this name or id, or -1 */
int config_link_by_name(const struct config *config, const char *name);
int config_link_by_id(const struct config *config, unsigned id);
int config_group_by_name(const struct config *config, const char *name);

/* Names for messages, output and parsing (static storage; parse returns -1 when unknown) */
const char *scheduler_name(enum scheduler scheduler);
int scheduler_parse(const char *name);
const char *sticky_name(enum sticky_kind kind);

#endif
