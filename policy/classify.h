/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify.h - the rules that a flow can match, found without trying each
 *
 * Private to policy/. The time of a look-up hardly depends on the number of rules.
 */
#ifndef POLICY_CLASSIFY_H
#define POLICY_CLASSIFY_H

#include "policy/config.h"
#include "policy/flow.h"

struct classifier;

/* Reads `rules` now and never again. NULL: out of memory. */
struct classifier *classifier_new(const struct rule_config *rules, size_t n);
void classifier_free(struct classifier *classifier);

#define CLASSIFIER_FIELDS 8

/* What the fields of one flow mean to the rules */
struct classified {
	const struct classifier *classifier;
	uint32_t class[CLASSIFIER_FIELDS];
};

struct classified classify(const struct classifier *classifier, const struct flow *flow, const struct flow_meta *meta);

/* First rule from `from` on all of whose conditions hold, marks aside; the number of rules when there is none */
unsigned classified_next(const struct classified *classified, unsigned from);

#endif
