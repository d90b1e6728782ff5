/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify_private.h - between classify.c (look-up) and classify_field.c (compiling a field)
 */
#ifndef POLICY_CLASSIFY_PRIVATE_H
#define POLICY_CLASSIFY_PRIVATE_H

#include "policy/classify.h"

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

/* The classes of all values of one family; the first step starts at 0 */
struct steps {
	struct step *step;
	size_t n;
};

/* 64 words of a class's bitmap, of which only those present are kept */
struct span {
	uint64_t present;
	uint32_t first; /* index into field.packed of the first present one */
};

struct field {
	enum field_kind kind;
	struct steps steps[2]; /* addresses: IPv4 and IPv6; others: the first only */
	uint32_t *table; /* class by value, for all but addresses */
	uint64_t *any; /* rules that state nothing about this field */
	uint64_t *any_summary; /* words of `any` that are not zero */
	struct span *spans; /* by class, n_spans each */
	uint64_t *packed;
};

struct classifier {
	unsigned n_rules;
	unsigned n_words; /* of a bitmap with one bit for each rule */
	unsigned n_spans; /* of a bitmap with one bit for each word */
	unsigned n_fields; /* that rules state conditions on */
	struct field fields[FIELDS];
};

static inline unsigned words_for(size_t bits)
{
	return (unsigned)((bits + 63) / 64);
}

bool field_is_stated(enum field_kind kind, const struct rule_config *rule);

/* False: out of memory; field_free() is due all the same */
bool field_compile(struct field *field, enum field_kind kind, const struct rule_config *rules, size_t n_rules);
void field_free(struct field *field);

uint32_t field_class(const struct field *field, const struct flow *flow, const struct flow_meta *meta);

#endif
