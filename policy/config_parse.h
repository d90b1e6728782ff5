/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_parse.h - what the parts of the configuration reader share
 *
 * Private to policy/config_*.c. The way of a file:
 *
 *   config_text.c      bytes -> text that libconfuse counts lines of correctly
 *   config_file.c      text -> sections of raw values, each with its file and line
 *   config_top.c, config_links.c, config_groups.c, config_rules.c
 *                      raw values -> struct config, every wrong one reported
 *   config_values.c, config_ports.c
 *                      one raw value -> number, address, port, ...
 *   config_check.c     what only the whole can tell: references, duplicates, conflicts
 *
 * All of them report into struct parse and go on, so that one run names every mistake.
 */
#ifndef POLICY_CONFIG_PARSE_H
#define POLICY_CONFIG_PARSE_H

#include <confuse.h>

#include "policy/config.h"
#include "policy/config_file.h"

/* Key of the hidden option that records where a section starts; no file can spell it */
#define SECTION_START "\tstart"

#define SHOWN_MAX 72 /* of a name or value in a message */

/* A value as written */
struct value {
	const char *file; /* interned in config.files */
	unsigned line;
	char text[];
};

/* Where a section was opened, to find titles used twice */
struct section_seen {
	char *name; /* kind and title: link "a", or tier "2" of group "all" */
	uint32_t hash; /* of the name: thousands of rules are compared with each other */
	const char *file;
	unsigned line;
};

struct parse {
	struct config *config;
	struct config_messages *errors;
	struct config_messages *warnings;
	const char *file; /* being read by libconfuse */
	char where[SHOWN_MAX]; /* `link "x": ` while that section is read, or "" */
	unsigned depth; /* of includes */
	bool no_memory;
	struct section_seen *seen;
	size_t n_seen;
	char outer[SHOWN_MAX]; /* kind and title of the group whose tiers are read */
	/* what cannot be told from struct config any more */
	bool lan_stated; /* also as an empty list: a server has none, and means it */
	bool mask_ok; /* the mask is usable: ids and marks can be checked against it */
	bool fallback_weight_stated; /* by some link */
};

/* ---- messages (config_messages.c) ---- */

/* "FILE:LINE: WHERE what"; line 0: of the whole file */
void parse_error(struct parse *parse, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void parse_warning(struct parse *parse, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* "FILE:LINE: WHERE KEY VALUE, expected ..." */
void value_error(struct parse *parse, const char *key, const struct value *value, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Enter (or with NULL leave) a section */
void parse_where(struct parse *parse, const char *kind, const char *title);
/* `text` made fit for a message: no control characters, not endless; the second form quotes all but numbers */
const char *text_plain(const char *text, char out[SHOWN_MAX]);
const char *text_shown(const char *text, char out[SHOWN_MAX]);

/* Append a zeroed element to an array that grows: `array` is the address of the
 * array's pointer. NULL (and parse->no_memory) when memory is short. */
void *parse_push(struct parse *parse, void *array, size_t *n, size_t size);
char *parse_strdup(struct parse *parse, const char *text);

/* ---- files (config_text.c) ---- */

/* Read a whole file, add it to config.files and config.checksum. Returns its bytes and
 * a final NUL, or NULL. `*file` is the interned name. */
char *parse_read_file(struct parse *parse, const char *path, size_t *length, const char **file);
/* Why parse_read_file() just returned NULL */
const char *parse_file_trouble(void);
/* Path of `name` as written in `file`: relative paths start at that file's directory */
char *parse_relative_path(struct parse *parse, const char *file, const char *name);
/* Make `text` ready for libconfuse, in place: comments become spaces. Returns false after
 * reporting what libconfuse would swallow silently (an open string or comment, stray bytes).
 * `open_brace` is the line of the last '{' that is never closed, or 0. */
bool text_prepare(struct parse *parse, const char *file, char *text, size_t length, unsigned *open_brace);

/* ---- values (config_values.c) ---- */

const struct value *section_value(cfg_t *section, const char *key); /* NULL: not given */
size_t section_count(cfg_t *section, const char *key);
const struct value *section_nth(cfg_t *section, const char *key, size_t n);
/* The place a section was opened at */
const struct value *section_start(cfg_t *section);
/* Report a list that was given with nothing in it */
void section_refuse_empty(struct parse *parse, cfg_t *section, const char *key);

bool number_parse(const char *text, uint64_t *out); /* decimal or 0x hexadecimal */
uint32_t get_number(struct parse *parse, cfg_t *section, const char *key, uint32_t fallback, uint32_t min,
		    uint32_t max);
uint32_t get_seconds(struct parse *parse, cfg_t *section, const char *key, uint32_t fallback, uint32_t max);
uint64_t get_capacity(struct parse *parse, cfg_t *section, const char *key);
bool get_bool(struct parse *parse, cfg_t *section, const char *key, bool fallback);
/* Index of the value among `n` words */
unsigned get_word(struct parse *parse, cfg_t *section, const char *key, unsigned fallback, const char *const *words,
		  size_t n);
bool name_valid(const char *name); /* of links, groups, rules and tables */
/* The title of a section as a name; a wrong one is reported, and used as far as it fits */
void get_name(struct parse *parse, cfg_t *section, char out[CONFIG_NAME_MAX + 1]);
bool interface_valid(const char *name, bool wildcard);
extern const char *const interface_expected; /* for messages */
/* Copy an interface name; false after reporting a wrong one */
bool get_interface(struct parse *parse, const char *key, const struct value *value, bool wildcard,
		   char out[CONFIG_IFNAME_MAX + 1]);
/* An address of the family, or of any (0). Returns the family found, or 0 after reporting. */
int get_address(struct parse *parse, const char *key, const struct value *value, int family, struct flow_addr *out);
/* A list of networks of the family (0: both) appended to an array */
void get_networks(struct parse *parse, cfg_t *section, const char *key, int family, struct flow_net **nets, size_t *n);

/* ---- protocols, ports, DSCP (config_ports.c, config_names.c) ---- */

int protocol_parse(const char *name); /* 0..255, or -1 */
const char *protocol_str(uint8_t protocol, char out[16]); /* "tcp", or the number */
/* Port of a service for a protocol (or for any: 0), or -1 */
int service_port(const char *name, uint8_t protocol);
int dscp_parse(const char *name); /* 0..63, or -1 */
/* Ports of a rule, from a list and from files that hold lists */
void get_ports(struct parse *parse, cfg_t *section, const char *key, const char *file_key,
	       const struct rule_config *rule, struct port_range **ranges, size_t *n);

/* ---- sections -> struct config ---- */

void parse_top(struct parse *parse, cfg_t *root);
void parse_links(struct parse *parse, cfg_t *root);
void parse_groups(struct parse *parse, cfg_t *root);
void parse_rules(struct parse *parse, cfg_t *root);
void warn_unreachable_rules(struct parse *parse);
void parse_check(struct parse *parse);

#endif
