/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/control_explain.h - what `explain` found out, before it is said
 */
#ifndef NFQB_CONTROL_EXPLAIN_H
#define NFQB_CONTROL_EXPLAIN_H

#include "conntrack/table.h"
#include "nfq-balancer/control_private.h"

enum explain_why { /* an existing flow is on its link because */
	WHY_DECIDED, /* the record of its decision is still there */
	WHY_MAIN, /* it is not ours */
	WHY_UNMARKED, /* it is older than the rules, or passed by them */
	WHY_INBOUND, /* it came in by this link */
	WHY_UNKNOWN, /* the fallback, or a decision older than the records */
};

struct explanation {
	const struct config *config;
	struct flow flow; /* as asked */
	struct flow_meta meta;
	bool iface_given;
	/* a new flow */
	struct decision decision;
	int64_t scores[CONFIG_MAX_LINKS];
	uint64_t sticky_age; /* ms */
	uint64_t candidates;
	/* the existing one */
	bool exists;
	struct conntrack_entry entry;
	enum explain_why why;
	struct decision_record record; /* WHY_DECIDED */
	/* of the existing flow if there is one, else of the new one */
	int link; /* index, or -1 */
	uint32_t mark; /* link bits */
	struct route_answer way;
};

void explain_text(struct client *client, const struct explanation *explanation);
void explain_json(struct client *client, const struct explanation *explanation);

#endif
