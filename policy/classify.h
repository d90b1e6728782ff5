/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify.h - the first rule that matches, found without trying each
 *
 * Private to policy/. The time of a look-up hardly depends on the number of rules.
 */
#ifndef POLICY_CLASSIFY_H
#define POLICY_CLASSIFY_H

#include "policy/policy.h"

struct classifier;

/* `rules` must stay as they are until classifier_free(). NULL: out of memory. */
struct classifier *classifier_new(const struct rule_config *rules, size_t n);
void classifier_free(struct classifier *classifier);

/* Index of the first rule that matches, or the number of rules; in two steps */
void classifier_classes(const struct classifier *classifier, const struct flow *flow, const struct flow_meta *meta,
			struct policy_classes *out);
unsigned classifier_first(const struct classifier *classifier, const struct policy_classes *classes,
			  const struct flow_meta *meta);

/* Any of the rule's marks; true when it states none */
bool classifier_marks_hold(const struct rule_config *rule, const struct flow_meta *meta);

#endif
