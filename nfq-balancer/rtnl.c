/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/rtnl.c - rtnetlink over libmnl
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfq-balancer/rtnl.h"

#define BUFFER 32768
#define EVENT_BUFFER (4 << 20) /* bytes of events that may wait while the control thread is busy */

struct rtnl {
	struct mnl_socket *events;
	struct mnl_socket *requests;
	uint32_t sequence;
	_Alignas(struct nlmsghdr) char buffer[BUFFER];
};

/* ---- messages to objects ---- */

/* One table of attributes serves all messages; newer attributes than these are not looked at */
#define ATTRIBUTES 64

_Static_assert(IFLA_GROUP < ATTRIBUTES && IFLA_STATS64 < ATTRIBUTES && RTA_TABLE < ATTRIBUTES &&
		       FRA_PROTOCOL < ATTRIBUTES && IFA_LOCAL < ATTRIBUTES,
	       "room for every attribute that is read");

struct attributes {
	const struct nlattr *at[ATTRIBUTES];
};

static int keep_attribute(const struct nlattr *attr, void *data)
{
	struct attributes *attributes = data;
	uint16_t type = mnl_attr_get_type(attr);

	if (type < ATTRIBUTES)
		attributes->at[type] = attr;
	return MNL_CB_OK;
}

static uint8_t family_number(uint8_t af)
{
	return af == AF_INET6 ? 6 : af == AF_INET ? 4 : 0;
}

static void read_addr(const struct nlattr *attr, struct flow_addr *out)
{
	memset(out, 0, sizeof(*out));
	if (!attr)
		return;
	if (mnl_attr_get_payload_len(attr) == 16) {
		memcpy(out->b, mnl_attr_get_payload(attr), 16);
	} else if (mnl_attr_get_payload_len(attr) == 4) {
		out->b[10] = out->b[11] = 0xff;
		memcpy(out->b + 12, mnl_attr_get_payload(attr), 4);
	}
}

static uint32_t read_u32(const struct nlattr *attr, uint32_t absent)
{
	return attr ? mnl_attr_get_u32(attr) : absent;
}

static bool read_interface(const struct nlmsghdr *message, struct rtnl_object *out)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	const unsigned running = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;
	struct attributes a = { 0 };
	struct rtnl_link_stats64 stats;

	mnl_attr_parse(message, sizeof(*header), keep_attribute, &a);
	out->kind = RTNL_INTERFACE;
	out->ifindex = header->ifi_index;
	out->up = header->ifi_flags & IFF_UP;
	out->carrier = (header->ifi_flags & running) == running;
	out->group = read_u32(a.at[IFLA_GROUP], 0);
	if (a.at[IFLA_IFNAME])
		snprintf(out->name, sizeof(out->name), "%s", mnl_attr_get_str(a.at[IFLA_IFNAME]));
	if (a.at[IFLA_STATS64] && mnl_attr_get_payload_len(a.at[IFLA_STATS64]) >= sizeof(stats.rx_packets) * 4) {
		memset(&stats, 0, sizeof(stats));
		size_t len = mnl_attr_get_payload_len(a.at[IFLA_STATS64]);

		memcpy(&stats, mnl_attr_get_payload(a.at[IFLA_STATS64]), len < sizeof(stats) ? len : sizeof(stats));
		out->rx_bytes = stats.rx_bytes;
		out->tx_bytes = stats.tx_bytes;
	}
	/* bridges announce their ports with AF_BRIDGE: not a change of the interface */
	return header->ifi_family == AF_UNSPEC;
}

static bool read_address(const struct nlmsghdr *message, struct rtnl_object *out)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	struct attributes a = { 0 };

	mnl_attr_parse(message, sizeof(*header), keep_attribute, &a);
	out->kind = RTNL_ADDRESS;
	out->family = family_number(header->ifa_family);
	out->ifindex = (int)header->ifa_index;
	out->bits = header->ifa_prefixlen;
	out->global = header->ifa_scope < RT_SCOPE_LINK;
	out->tentative = header->ifa_flags & IFA_F_DADFAILED ||
			 (header->ifa_flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)) == IFA_F_TENTATIVE;
	/* point to point: IFA_LOCAL is ours, IFA_ADDRESS the peer's */
	read_addr(a.at[IFA_LOCAL] ? a.at[IFA_LOCAL] : a.at[IFA_ADDRESS], &out->addr);
	return out->family != 0;
}

static bool read_route(const struct nlmsghdr *message, struct rtnl_object *out)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	struct attributes a = { 0 };

	mnl_attr_parse(message, sizeof(*header), keep_attribute, &a);
	out->kind = RTNL_ROUTE;
	out->family = family_number(header->rtm_family);
	out->bits = header->rtm_dst_len;
	out->protocol = header->rtm_protocol;
	/* IPv4 through an IPv6 neighbour (RTA_VIA) is no gateway that this can copy */
	out->unicast = header->rtm_type == RTN_UNICAST && !a.at[RTA_VIA];
	out->table = read_u32(a.at[RTA_TABLE], header->rtm_table);
	out->priority = read_u32(a.at[RTA_PRIORITY], 0);
	out->ifindex = (int)read_u32(a.at[RTA_OIF], 0);
	read_addr(a.at[RTA_DST], &out->addr);
	if (!a.at[RTA_DST] && out->family == 4)
		out->addr.b[10] = out->addr.b[11] = 0xff;
	out->has_gateway = a.at[RTA_GATEWAY] != NULL;
	read_addr(a.at[RTA_GATEWAY], &out->gateway);
	out->has_source = a.at[RTA_PREFSRC] != NULL;
	read_addr(a.at[RTA_PREFSRC], &out->source);
	return out->family != 0 && !(header->rtm_flags & RTM_F_CLONED);
}

static bool read_rule(const struct nlmsghdr *message, struct rtnl_object *out)
{
	const struct fib_rule_hdr *header = mnl_nlmsg_get_payload(message);
	struct attributes a = { 0 };

	mnl_attr_parse(message, sizeof(*header), keep_attribute, &a);
	out->kind = RTNL_RULE;
	out->family = family_number(header->family);
	out->bits = header->src_len;
	out->table = read_u32(a.at[FRA_TABLE], header->table);
	out->priority = read_u32(a.at[FRA_PRIORITY], 0);
	out->protocol = a.at[FRA_PROTOCOL] ? mnl_attr_get_u8(a.at[FRA_PROTOCOL]) : 0;
	read_addr(a.at[FRA_SRC], &out->addr);
	return out->family != 0;
}

static bool read_object(const struct nlmsghdr *message, struct rtnl_object *out)
{
	memset(out, 0, sizeof(*out));
	switch (message->nlmsg_type) {
	case RTM_DELLINK:
		out->gone = true;
		return read_interface(message, out);
	case RTM_NEWLINK:
		return read_interface(message, out);
	case RTM_DELADDR:
		out->gone = true;
		return read_address(message, out);
	case RTM_NEWADDR:
		return read_address(message, out);
	case RTM_DELROUTE:
		out->gone = true;
		return read_route(message, out);
	case RTM_NEWROUTE:
		return read_route(message, out);
	case RTM_NEWRULE:
		return read_rule(message, out);
	default:
		return false;
	}
}

struct sink {
	rtnl_each *each;
	void *data;
	int ifindex; /* 0: all */
	uint32_t table; /* 0: all */
};

static void pass(const struct sink *sink, const struct rtnl_object *object)
{
	if (sink->ifindex && object->ifindex != sink->ifindex)
		return;
	if (sink->table && object->table != sink->table)
		return;
	sink->each(object, sink->data);
}

/* A route of several next hops is one route per hop to whoever reads */
static void pass_hops(const struct sink *sink, struct rtnl_object *route, const struct nlattr *hops)
{
	const char *at = mnl_attr_get_payload(hops);
	size_t left = mnl_attr_get_payload_len(hops);

	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const void *)at;
		struct attributes a = { 0 };

		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
			return;
		mnl_attr_parse_payload(hop + 1, hop->rtnh_len - sizeof(*hop), keep_attribute, &a);
		route->ifindex = hop->rtnh_ifindex;
		route->has_gateway = a.at[RTA_GATEWAY] != NULL;
		read_addr(a.at[RTA_GATEWAY], &route->gateway);
		pass(sink, route);
		size_t step = RTNH_ALIGN(hop->rtnh_len);

		left -= step < left ? step : left;
		at += step;
	}
}

static int deliver(const struct nlmsghdr *message, void *data)
{
	const struct sink *sink = data;
	struct attributes a = { 0 };
	struct rtnl_object object;

	if (!read_object(message, &object))
		return MNL_CB_OK;
	if (object.kind == RTNL_ROUTE)
		mnl_attr_parse(message, sizeof(struct rtmsg), keep_attribute, &a);
	if (a.at[RTA_MULTIPATH])
		pass_hops(sink, &object, a.at[RTA_MULTIPATH]);
	else
		pass(sink, &object);
	return MNL_CB_OK;
}

/* ---- life ---- */

static struct mnl_socket *open_socket(unsigned groups, int flags)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);
	int on = 1;

	if (!socket)
		return NULL;
	/* dumps filtered in the kernel; older kernels do without, sink filters again */
	mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (mnl_socket_bind(socket, groups, MNL_SOCKET_AUTOPID) == 0)
		return socket;
	mnl_socket_close(socket);
	return NULL;
}

struct rtnl *rtnl_open(char *error, size_t size)
{
	struct rtnl *rtnl = calloc(1, sizeof(*rtnl));
	int bytes = EVENT_BUFFER;

	if (rtnl) {
		rtnl->events = open_socket(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
						   RTMGRP_IPV6_ROUTE,
					   SOCK_NONBLOCK);
		rtnl->requests = open_socket(0, 0);
	}
	if (!rtnl || !rtnl->events || !rtnl->requests) {
		snprintf(error, size, "rtnetlink: %s", strerror(errno));
		rtnl_close(rtnl);
		return NULL;
	}
	/* best effort: an overrun only costs a look at everything */
	setsockopt(rtnl_event_fd(rtnl), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	return rtnl;
}

void rtnl_close(struct rtnl *rtnl)
{
	if (!rtnl)
		return;
	if (rtnl->events)
		mnl_socket_close(rtnl->events);
	if (rtnl->requests)
		mnl_socket_close(rtnl->requests);
	free(rtnl);
}

int rtnl_event_fd(const struct rtnl *rtnl)
{
	return mnl_socket_get_fd(rtnl->events);
}

bool rtnl_read_events(struct rtnl *rtnl, rtnl_each *each, void *data)
{
	struct sink sink = { each, data, 0, 0 };

	for (;;) {
		ssize_t got = mnl_socket_recvfrom(rtnl->events, rtnl->buffer, sizeof(rtnl->buffer));

		if (got < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
		mnl_cb_run(rtnl->buffer, (size_t)got, 0, 0, deliver, &sink);
	}
}

/* ---- requests ---- */

static struct nlmsghdr *put_request(struct rtnl *rtnl, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(rtnl->buffer);

	message->nlmsg_type = type;
	message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	message->nlmsg_seq = ++rtnl->sequence;
	return message;
}

/* A dump during which something changed is marked so, and libmnl would stop reading in
 * the middle of it: what is left would be taken for the answer to the next request. Read
 * to its end it is good enough, because an event of the change follows. */
static void accept_interrupted(char *messages, size_t size)
{
	struct nlmsghdr *message = (void *)messages;
	int left = (int)size;

	for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left))
		message->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
}

/* Send and read until the answer ends: 0, or an errno value */
static int talk(struct rtnl *rtnl, const struct nlmsghdr *message, struct sink *sink)
{
	uint32_t sequence = message->nlmsg_seq;
	int result = MNL_CB_OK;

	if (mnl_socket_sendto(rtnl->requests, message, message->nlmsg_len) < 0)
		return errno;
	while (result == MNL_CB_OK) {
		ssize_t got = mnl_socket_recvfrom(rtnl->requests, rtnl->buffer, sizeof(rtnl->buffer));

		if (got < 0)
			return errno;
		accept_interrupted(rtnl->buffer, (size_t)got);
		result = mnl_cb_run(rtnl->buffer, (size_t)got, sequence, 0, sink ? deliver : NULL, sink);
	}
	return result == MNL_CB_STOP ? 0 : errno;
}

static uint8_t af_number(int family)
{
	return family == 6 ? AF_INET6 : family == 4 ? AF_INET : AF_UNSPEC;
}

bool rtnl_interfaces(struct rtnl *rtnl, rtnl_each *each, void *data)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_GETLINK, NLM_F_DUMP);
	struct sink sink = { each, data, 0, 0 };

	mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
	errno = talk(rtnl, message, &sink);
	return errno == 0;
}

bool rtnl_addresses(struct rtnl *rtnl, int ifindex, rtnl_each *each, void *data)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_GETADDR, NLM_F_DUMP);
	struct ifaddrmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct sink sink = { each, data, ifindex, 0 };

	header->ifa_index = (unsigned)ifindex;
	errno = talk(rtnl, message, &sink);
	return errno == 0;
}

bool rtnl_routes(struct rtnl *rtnl, int family, uint32_t table, int ifindex, rtnl_each *each, void *data)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_GETROUTE, NLM_F_DUMP);
	struct rtmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct sink sink = { each, data, ifindex, table };

	header->rtm_family = af_number(family);
	if (table)
		mnl_attr_put_u32(message, RTA_TABLE, table);
	if (ifindex)
		mnl_attr_put_u32(message, RTA_OIF, (uint32_t)ifindex);
	errno = talk(rtnl, message, &sink);
	return errno == 0 || errno == ENOENT; /* ENOENT: the table has no route yet */
}

bool rtnl_rules(struct rtnl *rtnl, int family, rtnl_each *each, void *data)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_GETRULE, NLM_F_DUMP);
	struct fib_rule_hdr *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct sink sink = { each, data, 0, 0 };

	header->family = af_number(family);
	errno = talk(rtnl, message, &sink);
	return errno == 0;
}

static void keep_object(const struct rtnl_object *object, void *data)
{
	*(struct rtnl_object *)data = *object;
}

bool rtnl_interface(struct rtnl *rtnl, const char *name, int ifindex, struct rtnl_object *out)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_GETLINK, NLM_F_ACK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	struct sink sink = { keep_object, out, 0, 0 };

	header->ifi_index = ifindex;
	if (name)
		mnl_attr_put_strz(message, IFLA_IFNAME, name);
	memset(out, 0, sizeof(*out));
	errno = talk(rtnl, message, &sink);
	return errno == 0 && out->ifindex != 0;
}

static void put_addr(struct nlmsghdr *message, uint16_t type, int family, const struct flow_addr *addr)
{
	if (family == 6)
		mnl_attr_put(message, type, 16, addr->b);
	else
		mnl_attr_put(message, type, 4, addr->b + 12);
}

static struct nlmsghdr *put_route(struct rtnl *rtnl, uint16_t type, uint16_t flags, const struct rtnl_object *route)
{
	struct nlmsghdr *message = put_request(rtnl, type, (uint16_t)(NLM_F_ACK | flags));
	struct rtmsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->rtm_family = af_number(route->family);
	header->rtm_dst_len = route->bits;
	header->rtm_protocol = RTNL_PROTOCOL;
	header->rtm_type = RTN_UNICAST;
	header->rtm_scope = route->has_gateway || route->family == 6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	if (route->has_gateway)
		header->rtm_flags = RTNH_F_ONLINK; /* the provider's gateway need not lie in our subnet */
	mnl_attr_put_u32(message, RTA_TABLE, route->table);
	if (route->bits)
		put_addr(message, RTA_DST, route->family, &route->addr);
	if (route->has_gateway)
		put_addr(message, RTA_GATEWAY, route->family, &route->gateway);
	if (route->has_source)
		put_addr(message, RTA_PREFSRC, route->family, &route->source);
	mnl_attr_put_u32(message, RTA_OIF, (uint32_t)route->ifindex);
	if (route->priority)
		mnl_attr_put_u32(message, RTA_PRIORITY, route->priority);
	return message;
}

int rtnl_route_replace(struct rtnl *rtnl, const struct rtnl_object *route)
{
	return talk(rtnl, put_route(rtnl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route), NULL);
}

int rtnl_route_delete(struct rtnl *rtnl, const struct rtnl_object *route)
{
	return talk(rtnl, put_route(rtnl, RTM_DELROUTE, 0, route), NULL);
}

static struct nlmsghdr *put_rule(struct rtnl *rtnl, uint16_t type, uint16_t flags, const struct rtnl_object *rule)
{
	struct nlmsghdr *message = put_request(rtnl, type, (uint16_t)(NLM_F_ACK | flags));
	struct fib_rule_hdr *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->family = af_number(rule->family);
	header->src_len = rule->bits;
	header->action = FR_ACT_TO_TBL;
	put_addr(message, FRA_SRC, rule->family, &rule->addr);
	mnl_attr_put_u32(message, FRA_TABLE, rule->table);
	mnl_attr_put_u32(message, FRA_PRIORITY, rule->priority);
	mnl_attr_put_u8(message, FRA_PROTOCOL, RTNL_PROTOCOL);
	if (rule->unmarked_mask) {
		mnl_attr_put_u32(message, FRA_FWMARK, 0);
		mnl_attr_put_u32(message, FRA_FWMASK, rule->unmarked_mask);
	}
	return message;
}

int rtnl_rule_add(struct rtnl *rtnl, const struct rtnl_object *rule)
{
	return talk(rtnl, put_rule(rtnl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule), NULL);
}

int rtnl_rule_delete(struct rtnl *rtnl, const struct rtnl_object *rule)
{
	return talk(rtnl, put_rule(rtnl, RTM_DELRULE, 0, rule), NULL);
}

int rtnl_set_group(struct rtnl *rtnl, int ifindex, uint32_t group)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ifi_index = ifindex;
	mnl_attr_put_u32(message, IFLA_GROUP, group);
	return talk(rtnl, message, NULL);
}

int rtnl_set_rp_filter(struct rtnl *rtnl, int ifindex, uint32_t value)
{
	struct nlmsghdr *message = put_request(rtnl, RTM_NEWLINK, NLM_F_ACK);
	struct ifinfomsg *header = mnl_nlmsg_put_extra_header(message, sizeof(*header));

	header->ifi_index = ifindex;
	struct nlattr *families = mnl_attr_nest_start(message, IFLA_AF_SPEC);
	struct nlattr *family = mnl_attr_nest_start(message, AF_INET);
	struct nlattr *settings = mnl_attr_nest_start(message, IFLA_INET_CONF);

	mnl_attr_put_u32(message, IPV4_DEVCONF_RP_FILTER, value);
	mnl_attr_nest_end(message, settings);
	mnl_attr_nest_end(message, family);
	mnl_attr_nest_end(message, families);
	return talk(rtnl, message, NULL);
}
