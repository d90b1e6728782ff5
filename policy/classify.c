/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify.c - the first rule that matches, found without trying each
 *
 * Theory of operation. For each field of a flow that rules state conditions on
 * (protocol, ports, addresses, ...) all possible values fall into classes: two
 * values are in one class when the same rules admit both. Compiling finds the
 * classes and keeps with each a bitmap of the rules that admit it. A look-up
 * finds the class of each field (a table, or for addresses a search among few), and
 * the bitmaps' intersection is the set of rules that match (bit vectors after
 * Lakshman & Stiliadis 1998, with a summary of their words as by Baboescu &
 * Varghese 2001).
 *
 * A rule that states nothing about a field is in all of its classes; such rules would
 * fill the bitmaps. So rules are sorted by shape, that is by which fields they state:
 * each shape has words of its own in the bitmaps, and only the bitmaps of its own
 * fields are intersected there. These are sparse: only words that are not
 * zero are kept, found through a summary with one bit for each word, and
 * intersecting the summaries first skips nearly all of them. And each class has one
 * bit for each shape of which it leaves any rule: most shapes are ruled out by an
 * AND of one word for each field. Within a shape, rules
 * keep their order; the answer is the least of what the shapes find.
 *
 * Marks are arbitrary bits and masks, so they are tried on what the bitmaps find.
 */
#include "policy/classify.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "policy/classify_private.h"

#define SHAPE_KINDS (1u << FIELDS)
#define NO_RULE UINT_MAX /* in rule_at: between the last rule of a shape and the next word */
#define MARKED (1u << 31) /* in rule_at: the rule states marks; others need not be looked at (a miss of the cache) */

/* Rules that state the same fields, in words `begin` up to `end` of the bitmaps */
struct shape {
	unsigned begin, end;
	unsigned first_rule;
	unsigned n_fields;
	uint8_t fields[FIELDS]; /* enum field_kind of each */
};

struct classifier {
	const struct rule_config *rules;
	unsigned n_rules;
	unsigned rest; /* the first rule that states nothing at all, and so matches all; else n_rules */
	unsigned n_words; /* of a bitmap */
	unsigned n_spans; /* of 64 words each */
	unsigned n_shapes;
	struct shape *shapes; /* by first rule */
	unsigned *rule_at; /* rule index by position in the bitmaps */
	/* by kind and class: shapes in which the class leaves rules; bit: index modulo 64. NULL: no rule states
	 * conditions on this field. In one line: of most fields most policies need no more. */
	_Alignas(64) uint64_t *leaves[FIELDS];
	struct field fields[FIELDS]; /* by kind */
};

/* ---- compiling ---- */

static unsigned stated_fields(const struct rule_config *rule)
{
	unsigned stated = 0;

	for (unsigned kind = 0; kind < FIELDS; kind++)
		stated |= (unsigned)field_is_stated((enum field_kind)kind, rule) << kind;
	return stated;
}

/* Rules of each shape, and the first of them */
struct census {
	unsigned n[SHAPE_KINDS];
	unsigned first_rule[SHAPE_KINDS];
	unsigned shape[SHAPE_KINDS]; /* index into classifier.shapes */
	unsigned n_shapes;
};

static struct census take_census(const struct rule_config *rules, unsigned n_rules)
{
	struct census census = { .n_shapes = 0 };

	for (unsigned i = 0; i < n_rules; i++) {
		const unsigned stated = stated_fields(&rules[i]);

		if (census.n[stated]++)
			continue;
		census.first_rule[stated] = i;
		census.shape[stated] = census.n_shapes++;
	}
	return census;
}

static void make_shapes(struct classifier *classifier, const struct census *census)
{
	for (unsigned stated = 0; stated < SHAPE_KINDS; stated++) {
		if (!census->n[stated])
			continue;
		classifier->shapes[census->shape[stated]] = (struct shape){
			.end = words_for(census->n[stated]), /* its size, so far */
			.first_rule = census->first_rule[stated],
		};
	}
	for (unsigned i = 0; i < classifier->n_shapes; i++) {
		struct shape *shape = &classifier->shapes[i];

		shape->begin = classifier->n_words;
		shape->end += shape->begin;
		classifier->n_words = shape->end;
	}
	classifier->n_spans = words_for(classifier->n_words);
}

/* Where each rule stands in the bitmaps: position by rule, and back in rule_at */
static unsigned *place_rules(struct classifier *classifier, const struct census *census)
{
	const size_t n_positions = (size_t)classifier->n_words * 64;
	unsigned placed[SHAPE_KINDS] = { 0 };
	unsigned *position = calloc(classifier->n_rules, sizeof(*position));

	classifier->rule_at = calloc(n_positions, sizeof(*classifier->rule_at));
	if (!position || !classifier->rule_at) {
		free(position);
		return NULL;
	}
	for (size_t i = 0; i < n_positions; i++)
		classifier->rule_at[i] = NO_RULE;
	for (unsigned i = 0; i < classifier->n_rules; i++) {
		const unsigned stated = stated_fields(&classifier->rules[i]);
		const struct shape *shape = &classifier->shapes[census->shape[stated]];

		position[i] = shape->begin * 64 + placed[stated]++;
		classifier->rule_at[position[i]] = i | (classifier->rules[i].n_marks ? MARKED : 0);
	}
	return position;
}

static bool compile_fields(struct classifier *classifier, const struct census *census, const unsigned *position)
{
	for (unsigned kind = 0; kind < FIELDS; kind++) {
		bool used = false;

		for (unsigned stated = 0; stated < SHAPE_KINDS; stated++) {
			struct shape *shape = &classifier->shapes[census->shape[stated]];

			if (!census->n[stated] || !(stated >> kind & 1))
				continue;
			shape->fields[shape->n_fields++] = (uint8_t)kind;
			used = true;
		}
		if (!used)
			continue;
		if (!field_compile(&classifier->fields[kind], (enum field_kind)kind, classifier->rules,
				   classifier->n_rules, position, classifier->n_words))
			return false;
	}
	return true;
}

/* Words of this span that belong to the shape */
static uint64_t shape_words(const struct shape *shape, unsigned span)
{
	const unsigned first = span * 64;
	uint64_t words = ~UINT64_C(0);

	if (shape->begin > first)
		words &= ~UINT64_C(0) << (shape->begin - first);
	if (shape->end < first + 64)
		words &= ~(~UINT64_C(0) << (shape->end - first));
	return words;
}

static bool states(const struct shape *shape, unsigned field)
{
	for (unsigned i = 0; i < shape->n_fields; i++) {
		if (shape->fields[i] == field)
			return true;
	}
	return false;
}

/* Does this class of the field leave any rule of the shape? */
static bool class_leaves(const struct classifier *classifier, const struct shape *shape, unsigned field, size_t class)
{
	const struct span *spans = &classifier->fields[field].spans[class * classifier->n_spans];

	if (!states(shape, field))
		return true;
	for (unsigned span = shape->begin / 64; span * 64 < shape->end; span++) {
		if (spans[span].present & shape_words(shape, span))
			return true;
	}
	return false;
}

/* classifier.leaves */
static bool compile_summary(struct classifier *classifier)
{
	for (unsigned f = 0; f < FIELDS; f++) {
		const size_t n = classifier->fields[f].n_classes;

		if (!n)
			continue;
		classifier->leaves[f] = calloc(n, sizeof(*classifier->leaves[f]));
		if (!classifier->leaves[f])
			return false;
		for (size_t class = 0; class < n; class ++) {
			for (unsigned i = 0; i < classifier->n_shapes; i++) {
				if (class_leaves(classifier, &classifier->shapes[i], f, class))
					classifier->leaves[f][class] |= UINT64_C(1) << i % 64;
			}
		}
	}
	return true;
}

static bool compile(struct classifier *classifier)
{
	const struct census census = take_census(classifier->rules, classifier->n_rules);
	unsigned *position;
	bool ok;

	classifier->n_shapes = census.n_shapes;
	classifier->shapes = calloc(census.n_shapes, sizeof(*classifier->shapes));
	if (!classifier->shapes)
		return false;
	make_shapes(classifier, &census);
	position = place_rules(classifier, &census);
	ok = position && compile_fields(classifier, &census, position) && compile_summary(classifier);
	free(position);
	return ok;
}

struct classifier *classifier_new(const struct rule_config *rules, size_t n)
{
	struct classifier *classifier = aligned_alloc(64, sizeof(*classifier));

	if (!classifier)
		return NULL;
	memset(classifier, 0, sizeof(*classifier));
	classifier->rules = rules;
	classifier->n_rules = (unsigned)n;
	while (classifier->rest < n && (stated_fields(&rules[classifier->rest]) || rules[classifier->rest].n_marks))
		classifier->rest++;
	if (!compile(classifier)) {
		classifier_free(classifier);
		return NULL;
	}
	return classifier;
}

void classifier_free(struct classifier *classifier)
{
	if (!classifier)
		return;
	for (unsigned i = 0; i < FIELDS; i++) {
		field_free(&classifier->fields[i]);
		free(classifier->leaves[i]);
	}
	free(classifier->shapes);
	free(classifier->rule_at);
	free(classifier);
}

/* ---- look-up ---- */

struct lookup {
	const struct classifier *classifier;
	const struct flow_meta *meta;
	const struct policy_classes *classes;
	unsigned best; /* first rule that matches, so far */
};

bool classifier_marks_hold(const struct rule_config *rule, const struct flow_meta *meta)
{
	for (size_t i = 0; i < rule->n_marks; i++) {
		if ((meta->mark & rule->marks[i].mask) == rule->marks[i].value)
			return true;
	}
	return !rule->n_marks;
}

static const struct span *class_span(const struct lookup *lookup, unsigned field, unsigned span)
{
	const struct classifier *classifier = lookup->classifier;

	return &classifier->fields[field].spans[(size_t)lookup->classes->class[field] * classifier -> n_spans + span];
}

/* Finds the first rule in one word of the shape, and returns whether to look no further */
static bool word_first(struct lookup *lookup, const struct shape *shape, unsigned word)
{
	const struct classifier *classifier = lookup->classifier;
	uint64_t positions = ~UINT64_C(0);

	for (unsigned i = 0; i < shape->n_fields; i++) {
		const unsigned field = shape->fields[i];

		positions &= span_word(&classifier->fields[field], class_span(lookup, field, word / 64), word % 64);
	}
	for (; positions; positions &= positions - 1) {
		const unsigned entry = classifier->rule_at[word * 64 + (unsigned)__builtin_ctzll(positions)];
		const unsigned rule = entry & ~MARKED;

		if (rule >= lookup->best)
			return true;
		if (!(entry & MARKED) || classifier_marks_hold(&classifier->rules[rule], lookup->meta)) {
			lookup->best = rule;
			return true;
		}
	}
	return false;
}

static void shape_first(struct lookup *lookup, const struct shape *shape)
{
	for (unsigned span = shape->begin / 64; span * 64 < shape->end; span++) {
		uint64_t words = shape_words(shape, span);

		for (unsigned i = 0; i < shape->n_fields; i++)
			words &= class_span(lookup, shape->fields[i], span)->present;
		for (; words; words &= words - 1) {
			if (word_first(lookup, shape, span * 64 + (unsigned)__builtin_ctzll(words)))
				return;
		}
	}
}

/* Of the 64 shapes from `base` on, those of this summary */
static void shapes_first(struct lookup *lookup, unsigned base, uint64_t summary)
{
	for (; summary; summary &= summary - 1) {
		const unsigned i = base + (unsigned)__builtin_ctzll(summary);
		const struct shape *shape;

		if (i >= lookup->classifier->n_shapes)
			break;
		shape = &lookup->classifier->shapes[i];
		if (shape->first_rule >= lookup->best)
			break;
		if (shape->end - shape->begin == 1)
			word_first(lookup, shape, shape->begin); /* the summary has said that it is not empty */
		else
			shape_first(lookup, shape);
	}
}

/* Shapes that this class of the field leaves; the branch is the same for all flows of a policy */
static inline uint64_t table_shapes(const struct classifier *classifier, enum field_kind kind, unsigned value,
				    uint32_t *class)
{
	const uint64_t *leaves = classifier->leaves[kind];

	if (!leaves)
		return ~UINT64_C(0);
	class[kind] = table_class(&classifier->fields[kind], value);
	return leaves[class[kind]];
}

static inline uint64_t addr_shapes(const struct classifier *classifier, enum field_kind kind,
				   const struct flow_addr *addr, unsigned family, uint32_t *class)
{
	const uint64_t *leaves = classifier->leaves[kind];
	const struct steps *steps = classifier->fields[kind].steps;

	if (!leaves)
		return ~UINT64_C(0);
	class[kind] = family == 4 ? addr4_class(&steps[0], addr) : addr6_class(&steps[1], addr);
	return leaves[class[kind]];
}

void classifier_classes(const struct classifier *classifier, const struct flow *flow, const struct flow_meta *meta,
			struct policy_classes *out)
{
	const unsigned dport = flow->ports ? flow->dport : NO_PORT, sport = flow->ports ? flow->sport : NO_PORT;
	uint32_t *class = out->class;
	uint64_t shapes;

	static_assert(FIELDS == POLICY_FIELDS, "each has a class");
	shapes = table_shapes(classifier, FIELD_PROTOCOL, flow->protocol, class);
	shapes &= table_shapes(classifier, FIELD_DPORT, dport, class);
	shapes &= table_shapes(classifier, FIELD_SPORT, sport, class);
	shapes &= table_shapes(classifier, FIELD_IFACE, meta->iface, class);
	shapes &= table_shapes(classifier, FIELD_DSCP, flow->dscp, class);
	shapes &= table_shapes(classifier, FIELD_ORIGIN, meta->from_router, class);
	shapes &= addr_shapes(classifier, FIELD_SOURCE, &flow->src, flow->family, class);
	shapes &= addr_shapes(classifier, FIELD_DESTINATION, &flow->dst, flow->family, class);
	out->shapes = shapes;
}

unsigned classifier_first(const struct classifier *classifier, const struct policy_classes *classes,
			  const struct flow_meta *meta)
{
	struct lookup lookup = {
		.classifier = classifier,
		.meta = meta,
		.classes = classes,
		.best = classifier->rest, /* nothing behind it is looked at */
	};

	for (unsigned i = 0; i < classifier->n_shapes; i += 64)
		shapes_first(&lookup, i, classes->shapes);
	return lookup.best;
}
