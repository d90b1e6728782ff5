/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/flow.c - addresses, networks and the keyed hash of a flow
 */
#include "policy/flow.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* ::ffff:0:0/96 holds the IPv4 addresses */
static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool is_v4_mapped(const struct flow_addr *addr)
{
	return !memcmp(addr->b, v4_mapped, sizeof(v4_mapped));
}

int flow_addr_family(const struct flow_addr *addr)
{
	return is_v4_mapped(addr) ? 4 : 6;
}

char *flow_addr_str(const struct flow_addr *addr, char *out)
{
	if (is_v4_mapped(addr))
		inet_ntop(AF_INET, addr->b + sizeof(v4_mapped), out, FLOW_ADDR_STRLEN);
	else
		inet_ntop(AF_INET6, addr->b, out, FLOW_ADDR_STRLEN);
	return out;
}

/* The text form ::ffff:a.b.c.d is refused: no packet carries such an address
 * (RFC 4291 leaves it to sockets), and here it would silently mean IPv4. */
int flow_addr_parse(const char *text, struct flow_addr *out)
{
	struct flow_addr addr;

	memcpy(addr.b, v4_mapped, sizeof(v4_mapped));
	if (inet_pton(AF_INET, text, addr.b + sizeof(v4_mapped)) == 1) {
		*out = addr;
		return 4;
	}
	if (inet_pton(AF_INET6, text, addr.b) != 1 || is_v4_mapped(&addr))
		return 0;
	*out = addr;
	return 6;
}

/* First `bits` bits of both are the same */
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	const unsigned bytes = bits / 8;
	const unsigned rest = bits % 8;

	if (memcmp(a, b, bytes))
		return false;
	return !rest || !((a[bytes] ^ b[bytes]) >> (8 - rest));
}

/* "0".."32" or "0".."128" without sign, space or leading zeros; -1 otherwise */
static int parse_prefix_length(const char *text, int max)
{
	char *end;
	long bits;

	if (*text < '0' || *text > '9' || (*text == '0' && text[1]))
		return -1;
	bits = strtol(text, &end, 10);
	return *end || bits > max ? -1 : (int)bits;
}

bool flow_net_parse(const char *text, struct flow_net *out)
{
	const char *slash = strchr(text, '/');
	const size_t addr_len = slash ? (size_t)(slash - text) : strlen(text);
	char addr_text[FLOW_ADDR_STRLEN];
	struct flow_net net;
	int family, max, bits;

	if (addr_len >= sizeof(addr_text))
		return false;
	memcpy(addr_text, text, addr_len);
	addr_text[addr_len] = '\0';
	family = flow_addr_parse(addr_text, &net.addr);
	if (!family)
		return false;
	max = family == 4 ? 32 : 128;
	bits = slash ? parse_prefix_length(slash + 1, max) : max;
	if (bits < 0)
		return false;
	net.family = (uint8_t)family;
	net.bits = (uint8_t)(bits + 128 - max);
	for (unsigned bit = net.bits; bit < 128; bit++) {
		if (net.addr.b[bit / 8] & (0x80 >> bit % 8))
			return false;
	}
	*out = net;
	return true;
}

bool flow_net_contains(const struct flow_net *net, const struct flow_addr *addr)
{
	/* ::/0 is all of IPv6, and no IPv4 */
	if ((net->family == 4) != is_v4_mapped(addr))
		return false;
	return same_prefix(net->addr.b, addr->b, net->bits);
}

/* ---- SipHash (Aumasson & Bernstein 2012) over whole words ----
 * SipHash-c-d: c rounds for each word, d at the end. The authors propose 2-4, and 1-3 where
 * only a table of hashes must not be aimed at (as Rust, Python and Ruby use it). */

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t word, unsigned rounds)
{
	s->v3 ^= word;
	for (unsigned i = 0; i < rounds; i++)
		sip_round(s);
	s->v0 ^= word;
}

/* Of the little-endian bytes of `words`; inline, so that loops whose counts are known unroll */
static inline uint64_t sip_hash(const uint64_t *words, unsigned n, const uint64_t key[2], unsigned c, unsigned d)
{
	struct sip s = {
		.v0 = key[0] ^ 0x736f6d6570736575, /* "somepseudorandomlygeneratedbytes" */
		.v1 = key[1] ^ 0x646f72616e646f6d,
		.v2 = key[0] ^ 0x6c7967656e657261,
		.v3 = key[1] ^ 0x7465646279746573,
	};

	for (unsigned i = 0; i < n; i++)
		sip_word(&s, words[i], c);
	sip_word(&s, (uint64_t)n * 8 << 56, c);
	s.v2 ^= 0xff;
	for (unsigned i = 0; i < d; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static uint64_t siphash(const uint64_t *words, unsigned n, const uint64_t key[2])
{
	return sip_hash(words, n, key, 2, 4);
}

static uint64_t siphash13(const uint64_t *words, unsigned n, const uint64_t key[2])
{
	return sip_hash(words, n, key, 1, 3);
}

static inline void addr_words(const struct flow_addr *addr, uint64_t words[2])
{
	memcpy(words, addr->b, sizeof(addr->b));
	words[0] = le64toh(words[0]);
	words[1] = le64toh(words[1]);
}

static inline uint64_t v4_word(const struct flow_addr *addr)
{
	uint32_t word;

	memcpy(&word, addr->b + sizeof(v4_mapped), sizeof(word));
	return le32toh(word);
}

uint64_t flow_hash_tuple(const struct flow *flow, const uint64_t key[2])
{
	uint64_t words[5];

	words[0] = (uint64_t)flow->sport << 48 | (uint64_t)flow->dport << 32 | (uint64_t)flow->protocol << 8 |
		   flow->family;
	if (flow->family == 4) { /* all that IPv4 addresses can differ in */
		words[1] = v4_word(&flow->src) | v4_word(&flow->dst) << 32;
		return siphash13(words, 2, key);
	}
	addr_words(&flow->src, words + 1);
	addr_words(&flow->dst, words + 3);
	return siphash13(words, 5, key);
}

uint64_t flow_hash_hosts(const struct flow *flow, bool with_dst, uint32_t salt, const uint64_t key[2])
{
	uint64_t words[5];

	words[0] = (uint64_t)salt << 32 | flow->family;
	addr_words(&flow->src, words + 1);
	if (with_dst)
		addr_words(&flow->dst, words + 3);
	return siphash(words, with_dst ? 5 : 3, key);
}
