/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/privileges.h - from root to a service user with CAP_NET_ADMIN alone
 *
 * CAP_NET_ADMIN is checked by the kernel at every netlink message, so it stays;
 * everything else goes before the first thread starts.
 */
#ifndef NFQB_PRIVILEGES_H
#define NFQB_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>

/* May this process configure the network at all? False with one line in `error`. */
bool privileges_sufficient(char *error, size_t size);

/* Make the run and state directories (as root; the state directory belongs to `user`).
 * Without root they must be there or can be made by whoever we are. */
bool privileges_directories(const char *user, const char *run, const char *state, char *error, size_t size);

/* Become `user` (when root), keep CAP_NET_ADMIN alone, set no_new_privs */
bool privileges_drop(const char *user, char *error, size_t size);

#endif
