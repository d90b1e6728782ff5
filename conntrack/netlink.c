/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * conntrack/netlink.c - a socket to netfilter's subsystems
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>

#include "conntrack/netlink.h"

struct mnl_socket *netlink_open(void)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0)
		return socket;
	int saved = errno;

	if (socket)
		mnl_socket_close(socket);
	errno = saved;
	return NULL;
}
