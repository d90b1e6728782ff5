/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/netlink.h - a socket to netfilter's subsystems
 */
#ifndef CONNTRACK_NETLINK_H
#define CONNTRACK_NETLINK_H

struct mnl_socket;

/* Blocking, in no multicast group, with a port id that the kernel chose; NULL with errno */
struct mnl_socket *netlink_open(void);

#endif
