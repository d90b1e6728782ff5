/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify_private.h - between classify.c (look-up) and classify_field.c (compiling a field)
 */
#ifndef POLICY_CLASSIFY_PRIVATE_H
#define POLICY_CLASSIFY_PRIVATE_H

#include "policy/config.h"
#include "policy/flow.h"

#define PAGE_BITS 8
#define PAGE_VALUES (1 << PAGE_BITS)

enum field_kind {
	FIELD_PROTOCOL,
	FIELD_DPORT,
	FIELD_SPORT,
	FIELD_SOURCE,
	FIELD_DESTINATION,
	FIELD_IFACE,
	FIELD_DSCP,
	FIELD_ORIGIN, /* the router itself, or the LAN */
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
 * of equal size: a value in bucket b is of a step from bucket[b] to bucket[b + 1]. */
struct steps {
	struct step *step;
	size_t n;
	uint32_t *bucket; /* n_buckets + 1; NULL: there is one step */
	uint64_t n_buckets;
	uint64_t base; /* key_prefix() of the second step */
	unsigned shift; /* of the difference to base: the bucket */
};

/* 64 words of a class's bitmap, of which only those present are kept */
struct span {
	uint64_t present;
	uint32_t first; /* index into field.packed of the first present one */
};

struct field {
	enum field_kind kind;
	struct steps steps[2]; /* addresses: IPv4 and IPv6; others: the first only */
	/* all but addresses: class by value, in pages, of which those alike are kept once */
	uint32_t (*page)[PAGE_VALUES];
	uint16_t *page_of; /* by the value's high bits */
	uint32_t n_classes;
	uint64_t *shapes; /* by class: shapes in which it leaves rules; bit: index modulo 64 (classify.c) */
	struct span *spans; /* by class, one for each 64 words of a bitmap */
	uint64_t *packed;
};

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

uint32_t field_class(const struct field *field, const struct flow *flow, const struct flow_meta *meta);

#endif
