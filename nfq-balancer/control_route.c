/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_route.c - ask the kernel which way a packet with a mark would take
 *
 * For `explain` only: one RTM_GETROUTE, answered at once from the routing rules and
 * tables as they are now, whoever changed them last.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "nfq-balancer/control_private.h"

/* policy/flow.h keeps IPv4 in the last four of sixteen bytes */
#define IPV4_OFFSET 12

static void put_address(struct nlmsghdr *message, uint16_t type, const struct flow_addr *addr, int family)
{
	if (family == 6)
		mnl_attr_put(message, type, sizeof(addr->b), addr->b);
	else
		mnl_attr_put(message, type, 4, addr->b + IPV4_OFFSET);
}

static void get_address(const struct nlattr *attr, struct flow_addr *out)
{
	if (mnl_attr_get_payload_len(attr) == sizeof(out->b)) {
		memcpy(out->b, mnl_attr_get_payload(attr), sizeof(out->b));
		return;
	}
	*out = (struct flow_addr){ .b = { [10] = 0xff, [11] = 0xff } };
	if (mnl_attr_get_payload_len(attr) == 4)
		memcpy(out->b + IPV4_OFFSET, mnl_attr_get_payload(attr), 4);
}

static int read_attribute(const struct nlattr *attr, void *data)
{
	struct route_answer *answer = data;

	switch (mnl_attr_get_type(attr)) {
	case RTA_GATEWAY:
		answer->has_gateway = true;
		get_address(attr, &answer->gateway);
		break;
	case RTA_PREFSRC:
		answer->has_source = true;
		get_address(attr, &answer->source);
		break;
	case RTA_OIF: {
		char name[IF_NAMESIZE];

		if (mnl_attr_get_payload_len(attr) == sizeof(uint32_t) && if_indextoname(mnl_attr_get_u32(attr), name))
			snprintf(answer->interface, sizeof(answer->interface), "%s", name);
		break;
	}
	default:
		break;
	}
	return MNL_CB_OK;
}

static int read_route(const struct nlmsghdr *message, void *data)
{
	struct route_answer *answer = data;
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);

	if (message->nlmsg_type != RTM_NEWROUTE)
		return MNL_CB_OK;
	answer->found = route->rtm_type == RTN_UNICAST || route->rtm_type == RTN_LOCAL;
	answer->local = route->rtm_type == RTN_LOCAL;
	if (!answer->found)
		snprintf(answer->why, sizeof(answer->why), "no unicast route");
	mnl_attr_parse(message, sizeof(*route), read_attribute, answer);
	return MNL_CB_OK;
}

static bool ask(struct mnl_socket *socket, struct nlmsghdr *message, struct route_answer *answer)
{
	_Alignas(struct nlmsghdr) char buffer[8192];
	ssize_t got;

	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return false;
	got = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	return got > 0 && mnl_cb_run(buffer, (size_t)got, 0, 0, read_route, answer) >= 0;
}

struct route_answer control_route(const struct flow_addr *destination, int family, uint32_t mark)
{
	struct route_answer answer = { 0 };
	_Alignas(struct nlmsghdr) char buffer[256];
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtmsg *request = mnl_nlmsg_put_extra_header(message, sizeof(*request));

	message->nlmsg_type = RTM_GETROUTE;
	message->nlmsg_flags = NLM_F_REQUEST;
	request->rtm_family = family == 6 ? AF_INET6 : AF_INET;
	request->rtm_dst_len = family == 6 ? 128 : 32;
	put_address(message, RTA_DST, destination, family);
	if (mark)
		mnl_attr_put_u32(message, RTA_MARK, mark);
	/* the kernel's refusal ("Network is unreachable") is an answer too */
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 || !ask(socket, message, &answer)) {
		answer.found = false;
		snprintf(answer.why, sizeof(answer.why), "%s", strerror(errno));
	}
	if (socket)
		mnl_socket_close(socket);
	return answer;
}
