/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/kernel.c - /proc, rules.state and the named counters of nftables
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conntrack/netlink.h"
#include "nfq-balancer/kernel.h"
#include "policy/config_print.h"

#define BUFFER 16384
#define COUNTER_TRIES 10

/* ---- queues ---- */

int kernel_queues_open(void)
{
	return open("/proc/net/netfilter/nfnetlink_queue", O_RDONLY | O_CLOEXEC);
}

/* The kernel hands over a page of lines at a time: about 70 queues, whoever's they are */
static bool read_queues(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;

	do {
		got = pread(fd, text + length, size - 1 - length, (off_t)length);
		length += got > 0 ? (size_t)got : 0;
	} while (got > 0 && length < size - 1);
	text[length] = '\0';
	return got >= 0;
}

struct kernel_queues kernel_queues_read(int fd, unsigned first, unsigned count)
{
	struct kernel_queues out = { .known = false };
	char text[BUFFER], *rest = text, *line;

	if (fd < 0 || !read_queues(fd, text, sizeof(text)))
		return out;
	out.known = true;
	while ((line = strsep(&rest, "\n"))) {
		unsigned number, waiting, dropped, user_dropped;

		/* number portid waiting copy_mode copy_range queue_dropped user_dropped sequence 1 */
		if (sscanf(line, "%u %*u %u %*u %*u %u %u", &number, &waiting, &dropped, &user_dropped) != 4)
			continue;
		if (number < first || number >= first + count)
			continue;
		out.waiting += waiting;
		out.dropped += (uint64_t)dropped + user_dropped;
	}
	return out;
}

/* ---- reverse path filter ---- */

static int read_rp_filter(const char *interface)
{
	char path[128];
	int value = -1;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", interface);
	FILE *file = fopen(path, "re");

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

int kernel_rp_filter(const char *interface)
{
	int all = read_rp_filter("all"), own = read_rp_filter(interface);

	/* the kernel takes the higher of the two */
	return all > own ? all : own;
}

/* ---- rules.state ---- */

static FILE *open_state(const struct config *config)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/rules.state", config->run_directory) >= (int)sizeof(path))
		return NULL;
	return fopen(path, "re");
}

static void read_state(const struct config *config, struct kernel_rules *out)
{
	FILE *file = open_state(config);
	uint64_t checksum = 0, weightless = 0;
	char line[256];

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "backend %23s", out->backend);
		sscanf(line, "checksum %" SCNx64, &checksum);
		sscanf(line, "checksum-weightless %" SCNx64, &weightless);
		/* start writes it last and stop takes it away first */
		if (!strncmp(line, "fingerprint ", strlen("fingerprint ")))
			out->active = true;
		for (unsigned i = 0; i < 2; i++)
			out->ip_rules[i] += !strncmp(line, i ? "rule6 " : "rule4 ", 6) && strstr(line, " from all ");
	}
	fclose(file);
	if (!strncmp(out->backend, "nft", strlen("nft")))
		out->same_policy = weightless == config_rules_checksum(config, false);
	else
		out->same_policy = checksum == config_rules_checksum(config, true);
}

bool kernel_rules_active(const struct config *config)
{
	struct kernel_rules out = { .active = false };

	read_state(config, &out);
	return out.active;
}

/* "fallback NAME FAMILY SLOTS ID..." */
static bool read_fallback(const struct config *config, const char *line, struct kernel_fallback *out)
{
	int used = 0, more = 0, link;
	unsigned id;

	*out = (struct kernel_fallback){ .links = 0 };
	if (sscanf(line, "fallback %31s %d %u%n", out->name, &out->family, &out->slots, &used) != 3)
		return false;
	for (; sscanf(line + used, "%u%n", &id, &more) == 1; used += more) {
		link = config_link_by_id(config, id);
		out->links |= link < 0 ? 0 : UINT64_C(1) << link;
	}
	return true;
}

struct kernel_fallback *kernel_fallback_maps(const struct config *config, size_t *n)
{
	struct kernel_fallback *maps = NULL, map;
	FILE *file = open_state(config);
	char *line = NULL;
	size_t size = 0;

	*n = 0;
	while (file && getline(&line, &size, file) >= 0) {
		if (!read_fallback(config, line, &map))
			continue;
		struct kernel_fallback *more = realloc(maps, (*n + 1) * sizeof(*maps));

		if (!more)
			break;
		maps = more;
		maps[(*n)++] = map;
	}
	if (file)
		fclose(file);
	free(line);
	return maps;
}

/* ---- counters ---- */

struct object {
	const char *name;
	uint64_t packets;
};

struct counters {
	const struct config *config;
	struct kernel_rules *out;
};

static int keep_packets(const struct nlattr *attr, void *data)
{
	uint64_t *packets = data;

	if (mnl_attr_get_type(attr) == NFTA_COUNTER_PACKETS && mnl_attr_get_payload_len(attr) == sizeof(uint64_t))
		*packets = be64toh(mnl_attr_get_u64(attr));
	return MNL_CB_OK;
}

static int keep_object(const struct nlattr *attr, void *data)
{
	struct object *object = data;

	if (mnl_attr_get_type(attr) == NFTA_OBJ_NAME)
		object->name = mnl_attr_get_str(attr);
	else if (mnl_attr_get_type(attr) == NFTA_OBJ_DATA)
		mnl_attr_parse_nested(attr, keep_packets, &object->packets);
	return MNL_CB_OK;
}

static int read_counter(const struct nlmsghdr *message, void *data)
{
	const struct counters *counters = data;
	struct object object = { .name = "" };
	unsigned id;

	mnl_attr_parse(message, sizeof(struct nfgenmsg), keep_object, &object);
	bool decided = sscanf(object.name, "decided_%u", &id) == 1;

	if (!decided && sscanf(object.name, "fallback_%u", &id) != 1)
		return MNL_CB_OK;
	int link = config_link_by_id(counters->config, id);

	if (link < 0)
		return MNL_CB_OK;
	counters->out->counted = true;
	if (decided)
		counters->out->decided[link] = object.packets;
	else
		counters->out->fallback[link] = object.packets;
	return MNL_CB_OK;
}

static struct nlmsghdr *put_dump_request(void *buffer)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct nfgenmsg *header;

	message->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETOBJ;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	message->nlmsg_seq = 1;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	header->nfgen_family = NFPROTO_INET;
	header->version = NFNETLINK_V0;
	mnl_attr_put_strz(message, NFTA_OBJ_TABLE, KERNEL_NFT_TABLE);
	mnl_attr_put_u32(message, NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
	return message;
}

/* False with errno; EINTR: somebody changed the ruleset in the middle of it, and what is left was not read */
static bool dump_counters(const struct config *config, struct kernel_rules *out)
{
	_Alignas(struct nlmsghdr) char buffer[BUFFER] = { 0 };
	struct mnl_socket *socket = netlink_open();
	const struct nlmsghdr *message = put_dump_request(buffer);
	struct counters counters = { config, out };
	int more = MNL_CB_OK;

	if (!socket)
		return false;
	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		more = MNL_CB_ERROR;
	while (more > MNL_CB_STOP) {
		ssize_t got = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));

		more = got < 0 ? MNL_CB_ERROR : mnl_cb_run(buffer, (size_t)got, 1, 0, read_counter, &counters);
	}
	int saved = errno;

	mnl_socket_close(socket);
	errno = saved;
	return more == MNL_CB_STOP;
}

static void read_counters(const struct config *config, struct kernel_rules *out)
{
	for (unsigned tries = 0; tries < COUNTER_TRIES; tries++) {
		if (dump_counters(config, out) || errno != EINTR)
			return;
	}
}

struct kernel_rules kernel_rules_read(const struct config *config)
{
	struct kernel_rules out = { .active = false };

	read_state(config, &out);
	if (!strncmp(out.backend, "nft", 3))
		read_counters(config, &out);
	return out;
}
