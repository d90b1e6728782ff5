/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/cost_world.c - configurations and flows for bench/cost
 *
 * Rules are of the kinds that policies are made of: networks elsewhere (national
 * routes, a provider's servers), clients and their nets, ports and protocols, now
 * and then an interface or a DSCP. Networks are spread over the whole address
 * space, as lists of real ones are. All of it is drawn from a seed.
 */
#include <endian.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cost.h"

#define IFACES 4
#define ONE_IN(n) (!below(random, (n)))

/* splitmix64 (Steele, Lea & Flood 2014) */
uint64_t cost_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint32_t below(uint64_t *random, uint32_t n)
{
	return (uint32_t)((cost_random(random) >> 32) * n >> 32);
}

static const uint16_t ports[] = { 443, 443, 443, 80, 80, 53, 53, 22, 25, 123, 587, 993, 3478, 5060, 8080, 51820 };

static uint16_t some_port(uint64_t *random)
{
	return ONE_IN(4) ? (uint16_t)below(random, 65536) : ports[below(random, sizeof(ports) / sizeof(*ports))];
}

/* ---- addresses ---- */

static struct flow_addr v4_addr(uint32_t number)
{
	struct flow_addr addr = { .b = { [10] = 0xff, [11] = 0xff } };

	number = htobe32(number);
	memcpy(addr.b + 12, &number, sizeof(number));
	return addr;
}

static struct flow_addr v6_addr(uint64_t high, uint64_t low)
{
	struct flow_addr addr;

	high = htobe64(high);
	low = htobe64(low);
	memcpy(addr.b, &high, sizeof(high));
	memcpy(addr.b + 8, &low, sizeof(low));
	return addr;
}

/* Unicast, and not of the LAN */
static struct flow_addr far_addr(uint64_t *random, unsigned family)
{
	if (family == 4)
		return v4_addr((11 + below(random, 200)) << 24 | below(random, 1u << 24));
	return v6_addr(UINT64_C(0x2) << 60 | cost_random(random) >> 4, cost_random(random));
}

/* One family is told by the number, so that a client stays one */
static struct flow_addr client_addr(size_t client, unsigned *family)
{
	*family = client % 5 == 4 ? 6 : 4;
	/* odd factor: clients are spread over the LAN, none twice */
	if (*family == 4)
		return v4_addr(10u << 24 | ((uint32_t)client * 40503u & 0xffffff));
	return v6_addr(UINT64_C(0x20010db800010000), client + 1);
}

static struct flow_net net_of(struct flow_addr addr, unsigned family, unsigned bits)
{
	struct flow_net net = { .addr = addr, .family = (uint8_t)family, .bits = (uint8_t)bits };

	if (family == 4)
		net.bits = (uint8_t)(bits + 96);
	for (unsigned bit = net.bits; bit < 128; bit++)
		net.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return net;
}

static struct flow_net far_net(uint64_t *random)
{
	const unsigned family = ONE_IN(5) ? 6 : 4;
	const struct flow_addr addr = far_addr(random, family);

	return net_of(addr, family, family == 4 ? 12 + below(random, 21) : 24 + below(random, 41));
}

static struct flow_net near_net(uint64_t *random)
{
	unsigned family;
	const struct flow_addr addr = client_addr(below(random, 1u << 20), &family);

	if (family == 4)
		return net_of(addr, 4, ONE_IN(2) ? 32 : 22 + below(random, 9));
	return net_of(addr, 6, 128);
}

/* ---- a configuration ---- */

/* Appends one element to a list of a rule; false: out of memory */
#define append(list, n, ...)                                                \
	do {                                                                \
		void *grown = realloc((list), ((n) + 1) * sizeof(*(list))); \
		if (!grown)                                                 \
			return false;                                       \
		(list) = grown;                                             \
		(list)[(n)++] = __VA_ARGS__;                                \
	} while (0)

static bool state_service(struct rule_config *rule, uint64_t *random)
{
	append(rule->protocols, rule->n_protocols, (uint8_t)(ONE_IN(3) ? IPPROTO_UDP : IPPROTO_TCP));
	for (unsigned n = 1 + below(random, 3); n; n--) {
		const uint16_t first = some_port(random);
		const uint16_t last = ONE_IN(4) && first < 65000 ? (uint16_t)(first + below(random, 500)) : first;

		append(rule->dports, rule->n_dports, (struct port_range){ first, last });
	}
	return true;
}

static bool state_far(struct rule_config *rule, uint64_t *random)
{
	for (unsigned n = ONE_IN(4) ? 2 + below(random, 3) : 1; n; n--)
		append(rule->destinations, rule->n_destinations, far_net(random));
	return true;
}

static bool state_near(struct rule_config *rule, uint64_t *random)
{
	for (unsigned n = ONE_IN(4) ? 2 + below(random, 3) : 1; n; n--)
		append(rule->sources, rule->n_sources, near_net(random));
	return true;
}

static bool state_conditions(struct rule_config *rule, uint64_t *random)
{
	const unsigned kind = below(random, 100);

	if (kind < 35)
		return state_far(rule, random);
	if (kind < 50)
		return state_far(rule, random) && state_service(rule, random);
	if (kind < 70)
		return state_near(rule, random);
	if (kind < 80)
		return state_near(rule, random) && state_service(rule, random);
	if (kind < 85)
		return state_near(rule, random) && state_far(rule, random);
	/* services for one interface or client net, else few would be reached */
	if (!state_service(rule, random))
		return false;
	if (kind < 92) {
		append(rule->dscps, rule->n_dscps, (uint8_t)(8 * (1 + below(random, 7))));
	} else if (kind < 96) {
		append(rule->ifaces, rule->n_ifaces, (uint16_t)(1 + below(random, IFACES)));
		append(rule->sports, rule->n_sports, (struct port_range){ 1, 1023 });
	}
	return kind < 96 || state_near(rule, random);
}

static bool make_rules(struct config *config, unsigned n, uint64_t *random)
{
	config->rules = calloc(n, sizeof(*config->rules));
	if (!config->rules)
		return false;
	config->n_rules = n;
	for (unsigned i = 0; i < n; i++) {
		struct rule_config *rule = &config->rules[i];

		snprintf(rule->name, sizeof(rule->name), "rule%u", i);
		if (i + 1 == n)
			break; /* the rest: RULE_GROUP, to group 0 */
		if (!state_conditions(rule, random))
			return false;
		if (ONE_IN(8)) {
			rule->action = RULE_BYPASS;
		} else if (ONE_IN(4)) {
			rule->action = RULE_LINK;
			rule->target = below(random, (uint32_t)config->n_links);
		}
	}
	return true;
}

static bool make_links(struct config *config, unsigned n)
{
	config->links = calloc(n, sizeof(*config->links));
	if (!config->links)
		return false;
	config->n_links = n;
	for (unsigned i = 0; i < n; i++) {
		struct link_config *link = &config->links[i];

		snprintf(link->name, sizeof(link->name), "wan%u", i + 1);
		link->id = i + 1;
		link->weight = 1;
		link->download = (1 + i % 4) * UINT64_C(50000000);
		link->gateway.kind = link->gateway6.kind = GATEWAY_AUTO;
		link->nat.kind = link->nat6.kind = NAT_MASQUERADE;
	}
	return true;
}

static bool make_group(struct config *config, const struct cost_size *size)
{
	config->groups = calloc(1, sizeof(*config->groups));
	if (!config->groups)
		return false;
	config->n_groups = 1;
	strcpy(config->groups->name, "all");
	config->groups->scheduler = size->scheduler;
	config->groups->sticky = size->sticky ? STICKY_SOURCE : STICKY_NONE;
	config->groups->sticky_timeout = 600;
	config->groups->n_tiers = 1;
	config->groups->spill_at = 80;
	for (unsigned i = 0; i < size->links; i++) {
		config->groups->links |= UINT64_C(1) << i;
		config->groups->tier[i] = 1;
		config->groups->rank[i] = (uint8_t)i;
	}
	return true;
}

struct config *cost_config(const struct cost_size *size, uint64_t seed)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->mask = 0xff00;
	config->checksum = seed;
	if (make_links(config, size->links) && make_group(config, size) && make_rules(config, size->rules, &seed))
		return config;
	config_free(config);
	return NULL;
}

/* ---- flows ---- */

void cost_world_init(struct cost_world *world, const struct config *config, size_t clients, uint64_t seed)
{
	*world = (struct cost_world){ .random = ~seed, .clients = clients, .config = config };
}

/* An address in a network that some rule names, or any */
static struct flow_addr destination(struct cost_world *world, unsigned family)
{
	uint64_t *random = &world->random;
	const struct rule_config *rule = &world->config->rules[below(random, (uint32_t)world->config->n_rules)];
	struct flow_addr addr = far_addr(random, family);

	if (!rule->n_destinations || rule->destinations->family != family || ONE_IN(2))
		return addr;
	for (unsigned bit = 0; bit < rule->destinations->bits; bit++) {
		const uint8_t mask = (uint8_t)(0x80 >> bit % 8);

		addr.b[bit / 8] &= (uint8_t)~mask;
		addr.b[bit / 8] |= rule->destinations->addr.b[bit / 8] & mask;
	}
	return addr;
}

struct flow cost_world_flow(struct cost_world *world, size_t client)
{
	uint64_t *random = &world->random;
	struct flow flow = { .protocol = ONE_IN(4) ? IPPROTO_UDP : IPPROTO_TCP, .ports = true };
	unsigned family;

	flow.src = client_addr(client, &family);
	flow.family = (uint8_t)family;
	flow.dst = destination(world, family);
	flow.sport = (uint16_t)(1024 + below(random, 64512));
	flow.dport = some_port(random);
	flow.dscp = ONE_IN(16) ? (uint8_t)(8 * below(random, 8)) : 0;
	return flow;
}

static void put16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static size_t put_ip(uint8_t *p, const struct flow *flow)
{
	memset(p, 0, COST_PACKET);
	if (flow->family == 4) {
		p[0] = 0x45;
		p[1] = (uint8_t)(flow->dscp << 2);
		put16(p + 2, 40);
		p[9] = flow->protocol;
		memcpy(p + 12, flow->src.b + 12, 4);
		memcpy(p + 16, flow->dst.b + 12, 4);
		return 20;
	}
	p[0] = (uint8_t)(0x60 | flow->dscp >> 2);
	p[1] = (uint8_t)(flow->dscp << 6);
	put16(p + 4, 20);
	p[6] = flow->protocol;
	memcpy(p + 8, flow->src.b, 16);
	memcpy(p + 24, flow->dst.b, 16);
	return 40;
}

void cost_world_packet(struct cost_world *world, struct cost_packet *out)
{
	uint64_t *random = &world->random;
	size_t header;

	if (world->n_past >= COST_RECENT && ONE_IN(32)) {
		out->flow = world->past[below(random, COST_RECENT)];
	} else {
		out->flow = cost_world_flow(world, below(random, (uint32_t)world->clients));
		world->past[world->n_past++ % COST_RECENT] = out->flow;
	}
	out->meta = (struct flow_meta){ .mark = 0x8000, .iface = (uint16_t)(1 + below(random, IFACES)) };
	header = put_ip(out->bytes, &out->flow);
	put16(out->bytes + header, out->flow.sport);
	put16(out->bytes + header + 2, out->flow.dport);
	out->len = header + 20;
}
