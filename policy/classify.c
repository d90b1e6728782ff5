/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify.c - the rules that a flow can match, found without trying each
 *
 * Theory of operation. For each field of a flow that rules state conditions on
 * (protocol, ports, addresses, ...) all possible values fall into classes: two
 * values are in one class when the same rules admit both. Compiling finds the
 * classes and keeps with each a bitmap of the rules that admit it. A look-up
 * finds the class of each field (a table, or a binary search for
 * addresses), and the bitmaps' intersection is the set of rules that match; its
 * lowest bit is the first rule (bit vectors after Lakshman & Stiliadis 1998, with
 * their words aggregated as by Baboescu & Varghese 2001).
 *
 * Bitmaps are sparse: rules that state nothing about a field are in all of its
 * classes, so they are kept once per field (`any`); of each class only the
 * words that are not zero are kept, found through a summary with one bit
 * for each word. Intersecting summaries first skips nearly all words.
 */
#include "policy/classify.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "policy/classify_private.h"

/* ---- compiling: helpers are in classify_field.c ---- */

static bool compile_fields(struct classifier *classifier, const struct rule_config *rules)
{
	for (unsigned kind = 0; kind < FIELDS; kind++) {
		struct field *field = &classifier->fields[classifier->n_fields];
		bool used = false;

		for (size_t i = 0; i < classifier->n_rules; i++)
			used |= field_is_stated((enum field_kind)kind, &rules[i]);
		if (!used)
			continue;
		classifier->n_fields++;
		if (!field_compile(field, (enum field_kind)kind, rules, classifier->n_rules))
			return false;
	}
	return true;
}

struct classifier *classifier_new(const struct rule_config *rules, size_t n)
{
	struct classifier *classifier = calloc(1, sizeof(*classifier));

	static_assert(FIELDS == CLASSIFIER_FIELDS, "a class for each field");
	if (!classifier)
		return NULL;
	classifier->n_rules = (unsigned)n;
	classifier->n_words = words_for(n);
	classifier->n_spans = words_for(classifier->n_words);
	if (!compile_fields(classifier, rules)) {
		classifier_free(classifier);
		return NULL;
	}
	return classifier;
}

void classifier_free(struct classifier *classifier)
{
	if (!classifier)
		return;
	for (unsigned i = 0; i < classifier->n_fields; i++)
		field_free(&classifier->fields[i]);
	free(classifier);
}

/* ---- look-up ---- */

struct classified classify(const struct classifier *classifier, const struct flow *flow, const struct flow_meta *meta)
{
	struct classified classified = { .classifier = classifier };

	for (unsigned i = 0; i < classifier->n_fields; i++)
		classified.class[i] = field_class(&classifier->fields[i], flow, meta);
	return classified;
}

static const struct span *span_of(const struct field *field, uint32_t class, unsigned n_spans, unsigned span)
{
	return &field->spans[(size_t) class * n_spans + span];
}

/* Which of 64 words can hold a rule that matches */
static uint64_t summary(const struct classified *classified, unsigned span)
{
	const struct classifier *classifier = classified->classifier;
	uint64_t words = ~UINT64_C(0);

	for (unsigned i = 0; i < classifier->n_fields; i++) {
		const struct field *field = &classifier->fields[i];

		words &= field->any_summary[span] |
			 span_of(field, classified->class[i], classifier -> n_spans, span)->present;
	}
	return words;
}

static uint64_t class_word(const struct field *field, const struct span *span, unsigned bit)
{
	const uint64_t mask = UINT64_C(1) << bit;

	if (!(span->present & mask))
		return 0;
	return field->packed[span->first + (unsigned)__builtin_popcountll(span->present & (mask - 1))];
}

/* Which of 64 rules match */
static uint64_t matching(const struct classified *classified, unsigned word)
{
	const struct classifier *classifier = classified->classifier;
	const unsigned last_bits = classifier->n_rules % 64;
	uint64_t rules = ~UINT64_C(0);

	if (word + 1 == classifier->n_words && last_bits)
		rules = (UINT64_C(1) << last_bits) - 1;
	for (unsigned i = 0; i < classifier->n_fields; i++) {
		const struct field *field = &classifier->fields[i];
		const struct span *span = span_of(field, classified->class[i], classifier -> n_spans, word / 64);

		rules &= field->any[word] | class_word(field, span, word % 64);
	}
	return rules;
}

unsigned classified_next(const struct classified *classified, unsigned from)
{
	const struct classifier *classifier = classified->classifier;
	const unsigned first_word = from / 64;

	for (unsigned span = first_word / 64; span < classifier->n_spans; span++) {
		uint64_t words = summary(classified, span);

		if (span == first_word / 64)
			words &= ~UINT64_C(0) << first_word % 64;
		for (; words; words &= words - 1) {
			const unsigned word = span * 64 + (unsigned)__builtin_ctzll(words);
			uint64_t rules;

			if (word >= classifier->n_words)
				return classifier->n_rules;
			rules = matching(classified, word);
			if (word == first_word)
				rules &= ~UINT64_C(0) << from % 64;
			if (rules)
				return word * 64 + (unsigned)__builtin_ctzll(rules);
		}
	}
	return classifier->n_rules;
}
