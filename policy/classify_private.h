/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify_private.h - between classify.c (look-up) and classify_field.c (compiling a field)
 */
#ifndef POLICY_CLASSIFY_PRIVATE_H
#define POLICY_CLASSIFY_PRIVATE_H

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "policy/config.h"
#include "policy/flow.h"

#define NO_PORT 65536 /* as a port: the flow has none */
#define PAGE_BITS 8
#define PAGE_VALUES (1 << PAGE_BITS)

enum field_kind {
	FIELD_PROTOCOL,
	FIELD_DPORT,
	FIELD_SPORT,
	FIELD_IFACE,
	FIELD_DSCP,
	FIELD_ORIGIN, /* the router itself, or the LAN */
	FIELD_SOURCE, /* from here on: addresses */
	FIELD_DESTINATION,
	FIELDS
};

/* A value of a field: a number in `low`, or an address: IPv4 in `low`, IPv6 in both */
struct key {
	uint64_t high, low;
};

/* Values from `first` up to the next step's are of this class */
struct step {
	struct key first;
	uint32_t class;
};

/* The classes of all values of one family; the first step starts at 0. So that a look-up
 * tries few of them, the space from the second step to the last is cut into buckets
 * of equal size: a value in bucket b is of a step from bucket[b] to bucket[b + 1]. Behind the
 * last step there are more of its class, so that a search need not know the end. */
struct steps {
	struct step *step;
	size_t n;
	uint32_t *first4; /* IPv4: where each step begins, and its class */
	uint32_t *class4;
	uint32_t *bucket; /* n_buckets + 1 */
	uint64_t n_buckets;
	uint64_t base; /* key_prefix() of the second step */
	unsigned shift; /* of the difference to base: the bucket */
	unsigned rounds; /* of a search in the largest bucket */
};

/* 64 words of a class's bitmap, of which only those present are kept */
struct span {
	uint64_t present;
	uint32_t first; /* index into field.packed of the first present one */
};

/* Three cache lines: what all look-ups read, and steps of either family */
struct field {
	/* all but addresses: class by value, in pages, of which those alike are kept once */
	_Alignas(64) uint32_t (*page)[PAGE_VALUES];
	uint16_t *page_of; /* by the value's high bits */
	struct span *spans; /* by class, one for each 64 words of a bitmap */
	uint64_t *packed;
	enum field_kind kind;
	uint32_t n_classes;
	_Alignas(64) struct steps steps[2]; /* addresses: IPv4 and IPv6; others: the first only */
};

static_assert(sizeof(struct field) == 3 * 64, "no line for padding");

static inline unsigned words_for(size_t bits)
{
	return (unsigned)((bits + 63) / 64);
}

/* The word of a bitmap that stands in this span at `bit` */
static inline uint64_t span_word(const struct field *field, const struct span *span, unsigned bit)
{
	const uint64_t mask = UINT64_C(1) << bit;

	if (!(span->present & mask))
		return 0;
	return field->packed[span->first + (unsigned)__builtin_popcountll(span->present & (mask - 1))];
}

bool field_is_stated(enum field_kind kind, const struct rule_config *rule);

/* Rule i is bit position[i] of the bitmaps, which have `n_words` words.
 * False: out of memory; field_free() is due all the same. */
bool field_compile(struct field *field, enum field_kind kind, const struct rule_config *rules, size_t n_rules,
		   const unsigned *position, unsigned n_words);
void field_free(struct field *field);

/* ---- look-up ----
 * Without branches on what a flow says: nobody could predict them */

static inline bool key_less(struct key a, struct key b)
{
	return (a.high < b.high) | ((a.high == b.high) & (a.low < b.low));
}

static inline struct key addr_key(const struct flow_addr *addr, unsigned family)
{
	uint64_t words[2];

	memcpy(words, addr->b, sizeof(words));
	if (family == 4)
		return (struct key){ .low = be64toh(words[1]) & UINT32_MAX };
	return (struct key){ .high = be64toh(words[0]), .low = be64toh(words[1]) };
}

/* What tells steps apart well: the high half of an IPv6 address, all of an IPv4 one */
static inline uint64_t key_prefix(struct key key, unsigned family)
{
	return family == 6 ? key.high : key.low;
}

/* Some step that the value is not before, in the bucket where it is */
static inline uint32_t steps_bucket(const struct steps *steps, uint64_t prefix)
{
	const uint64_t offset = prefix > steps->base ? prefix - steps->base : 0;
	const uint64_t bucket = offset >> steps->shift;

	return steps->bucket[bucket < steps->n_buckets ? bucket : steps->n_buckets - 1];
}

#define SCAN4 8 /* steps that a look-up of IPv4 tries at once at the end */

static inline uint32_t addr4_class(const struct steps *steps, const struct flow_addr *addr)
{
	const uint32_t key = (uint32_t)addr_key(addr, 4).low;
	const uint32_t *first = steps->first4 + steps_bucket(steps, key);
	uint32_t passed = 0;

	for (unsigned half = SCAN4 << steps->rounds >> 1; half >= SCAN4; half /= 2)
		first += half & -(size_t)(key >= first[half]);
	for (unsigned i = 1; i <= SCAN4; i++)
		passed += key >= first[i];
	return steps->class4[(size_t)(first - steps->first4) + passed];
}

static inline uint32_t addr6_class(const struct steps *steps, const struct flow_addr *addr)
{
	const struct key key = addr_key(addr, 6);
	const struct step *step = steps->step + steps_bucket(steps, key.high);

	for (unsigned half = 1u << steps->rounds >> 1; half; half /= 2)
		step += half & ((size_t)key_less(key, step[half].first) - 1);
	return step->class;
}

static inline uint32_t table_class(const struct field *field, unsigned value)
{
	return field->page[field->page_of[value >> PAGE_BITS]][value % PAGE_VALUES];
}

#endif
