/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/kernel.h - what the kernel and the rules script say about the queues
 *
 * Reads only. Control thread only; each call costs one small file or one netlink dump.
 */
#ifndef NFQB_KERNEL_H
#define NFQB_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "policy/config.h"

#define KERNEL_NFT_TABLE "nfq_balancer" /* family inet */
#define KERNEL_MAP_NAME_MAX 32

/* /proc/net/netfilter/nfnetlink_queue is readable for root only: open it before dropping
 * privileges. -1 with errno. */
int kernel_queues_open(void);

struct kernel_queues {
	bool known;
	uint64_t waiting; /* packets queued now */
	uint64_t dropped; /* queue_dropped + user_dropped: lost */
};

/* The reverse path filter that acts on an interface: 0 off, 1 strict, 2 loose; -1: unknown */
int kernel_rp_filter(const char *interface);

/* Summed over queues first .. first + count - 1 */
struct kernel_queues kernel_queues_read(int fd, unsigned first, unsigned count);

struct kernel_rules {
	bool active; /* rules.state says that they are whole: not while start or stop is at work */
	bool same_policy; /* made from what the running configuration says */
	char backend[24]; /* "nft", "nft+iptables", "iptables-nft", "iptables-legacy" */
	unsigned ip_rules[2]; /* made for whatever source, IPv4 and IPv6; those of single addresses come and go */
	bool counted; /* the fields below are known (nft backends) */
	uint64_t decided[CONFIG_MAX_LINKS]; /* flows that the daemon decided, by link index */
	uint64_t fallback[CONFIG_MAX_LINKS]; /* flows that the kernel's fallback decided */
};

/* A named map that the rules' fallback deals new flows from, as rules.state tells */
struct kernel_fallback {
	char name[KERNEL_MAP_NAME_MAX];
	int family; /* 4 or 6 */
	unsigned slots;
	uint64_t links; /* that the flows which come there may use */
};

/* rules.state alone */
bool kernel_rules_active(const struct config *config);
/* The same; to be freed. NULL and *n 0 where there are none: iptables alone, rules that are gone */
struct kernel_fallback *kernel_fallback_maps(const struct config *config, size_t *n);
/* rules.state and the counters of table inet nfq_balancer */
struct kernel_rules kernel_rules_read(const struct config *config);

#endif
