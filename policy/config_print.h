/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_print.h - what a configuration means, for people and for the rules script
 */
#ifndef POLICY_CONFIG_PRINT_H
#define POLICY_CONFIG_PRINT_H

#include <stdio.h>

#include "policy/config.h"

/* Everything, defaults included, for `nfq-balancer -n` */
void config_print(FILE *out, const struct config *config);

/* Records for the rules script, `nfq-balancer -n --print=rules`; the format stands in config_records.c */
void config_print_rules(FILE *out, const struct config *config);

/* Hash of what the kernel's rules are made from. Equal: the rules need no restart. In
 * nftables the fallback's weights follow the daemon's; in iptables they are rules. */
uint64_t config_rules_checksum(const struct config *config, bool fallback_weights);

/* One rule on one line, "tcp to port 25 -> link embratel, rejected while it is down".
 * To be freed; NULL: out of memory. */
char *config_rule_str(const struct config *config, const struct rule_config *rule);

const char *log_level_str(enum log_level level);

bool rule_matches_all(const struct rule_config *rule);

/* As the configuration file spells them: "auto", "masquerade", "203.0.113.1" */
#define CONFIG_VALUE_STRLEN FLOW_ADDR_STRLEN
const char *gateway_str(const struct gateway *gateway, char out[CONFIG_VALUE_STRLEN]);
const char *nat_str(const struct nat *nat, char out[CONFIG_VALUE_STRLEN]);
/* "192.0.2.0/24" */
#define FLOW_NET_STRLEN (FLOW_ADDR_STRLEN + 4)
const char *flow_net_str(const struct flow_net *net, char out[FLOW_NET_STRLEN]);
/* "20 Mbit/s", "2.5 Gbit/s"; "-" when it is not stated */
#define CAPACITY_STRLEN 32
const char *capacity_str(uint64_t capacity, char out[CAPACITY_STRLEN]);

#endif
