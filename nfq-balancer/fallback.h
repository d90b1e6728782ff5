/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/fallback.h - the kernel's fallback follows what the daemon does
 *
 * The rules' fallback deals new flows by named maps (nftables only). While the rules
 * are in place, these are brought in line with the links' states, the weights set at
 * run time and the shares that the schedulers gave lately (policy/shares.h): at most
 * once a second, in one transaction, when it makes a difference. What the maps have
 * is read back each second, so whoever else fills them (a restart of the rules) is
 * noticed. Control thread only.
 */
#ifndef NFQB_FALLBACK_H
#define NFQB_FALLBACK_H

#include <stdint.h>

struct daemon;
struct fallback;

/* NULL: out of memory */
struct fallback *fallback_new(const struct daemon *daemon);
void fallback_free(struct fallback *fallback);

/* Call once a second */
void fallback_tick(struct fallback *fallback, uint64_t now_ms);
/* Links may have changed: follow at once, unless the maps were written within the last second */
void fallback_follow(struct fallback *fallback, uint64_t now_ms);

/* What the maps for any source had when last looked at: permille of new flows; -1 where there
 * is no such map or `fallback` is NULL */
int fallback_share(const struct fallback *fallback, unsigned link, int family);
/* Times that maps were written, and that this failed */
uint64_t fallback_written(const struct fallback *fallback);
uint64_t fallback_failed(const struct fallback *fallback);

#endif
