/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/vmap.h - the maps of table inet nfq_balancer that deal new flows to links
 *
 * A named verdict map from slot number to "goto take_ID" (or take_main). Written as a
 * whole, in one transaction: a packet sees the old deal or the new one. Needs
 * CAP_NET_ADMIN alone.
 */
#ifndef NFQB_VMAP_H
#define NFQB_VMAP_H

#include <stddef.h>

#include "nfq-balancer/kernel.h"
#include "policy/shares.h"

struct vmap {
	char name[KERNEL_MAP_NAME_MAX];
	struct shares_deal deal;
};

/* The deal that the kernel's map `vmap->name` has now. False with errno: ENOENT where there is no such map. */
bool vmap_read(const struct config *config, struct vmap *vmap);

/* These deals instead of what the maps have, all of them or none. False with errno. */
bool vmap_write(const struct config *config, const struct vmap *vmaps, size_t n);

#endif
