/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/classify_field.c - the classes of one field of a flow
 *
 * Compiling sweeps over a field's values in order: at each edge, where a condition of
 * some rule begins or ends, the set of rules that admit the value changes, and
 * a class begins (or one seen before comes back). Class 0 is the empty set.
 */
#include "policy/classify_private.h"

#include <stdlib.h>

/* Values a field can take, for those that are looked up in a table; 0: addresses */
static const size_t table_size[FIELDS] = {
	[FIELD_PROTOCOL] = 256, [FIELD_DPORT] = NO_PORT + 1, [FIELD_SPORT] = NO_PORT + 1,
	[FIELD_IFACE] = 65536,	[FIELD_DSCP] = 256,	     [FIELD_ORIGIN] = 2,
};

static bool key_equal(struct key a, struct key b)
{
	return a.high == b.high && a.low == b.low;
}

/* ---- edges: where conditions begin and end ---- */

struct edge {
	struct key at;
	unsigned bit; /* of the rule, in the bitmaps */
	bool begins;
};

struct edges {
	struct edge *edge; /* NULL: only count */
	size_t n;
};

static void add_edge(struct edges *edges, struct key at, unsigned bit, bool begins)
{
	if (edges->edge)
		edges->edge[edges->n] = (struct edge){ .at = at, .bit = bit, .begins = begins };
	edges->n++;
}

static void add_range(struct edges *edges, unsigned bit, uint64_t first, uint64_t last)
{
	add_edge(edges, (struct key){ .low = first }, bit, true);
	add_edge(edges, (struct key){ .low = last + 1 }, bit, false);
}

static void add_net(struct edges *edges, unsigned bit, const struct flow_net *net)
{
	const struct key first = addr_key(&net->addr, net->family);
	struct key end = first;

	if (net->family == 4) {
		add_range(edges, bit, first.low, first.low + ((uint64_t)UINT32_MAX >> (net->bits - 96)));
		return;
	}
	add_edge(edges, first, bit, true);
	if (net->bits > 64) {
		end.low += UINT64_C(1) << (128 - net->bits);
		end.high += end.low == 0;
	} else if (net->bits) {
		end.low = 0;
		end.high += UINT64_C(1) << (64 - net->bits);
	}
	if (end.high || end.low) /* else the network ends with the last address */
		add_edge(edges, end, bit, false);
}

static void add_nets(struct edges *edges, unsigned bit, unsigned family, const struct flow_net *nets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (nets[i].family == family)
			add_net(edges, bit, &nets[i]);
	}
}

static void add_rule(struct edges *edges, enum field_kind kind, unsigned family, const struct rule_config *rule,
		     unsigned bit)
{
	switch (kind) {
	case FIELD_PROTOCOL:
		for (size_t i = 0; i < rule->n_protocols; i++)
			add_range(edges, bit, rule->protocols[i], rule->protocols[i]);
		break;
	case FIELD_DPORT:
		for (size_t i = 0; i < rule->n_dports; i++)
			add_range(edges, bit, rule->dports[i].first, rule->dports[i].last);
		break;
	case FIELD_SPORT:
		for (size_t i = 0; i < rule->n_sports; i++)
			add_range(edges, bit, rule->sports[i].first, rule->sports[i].last);
		break;
	case FIELD_SOURCE:
		add_nets(edges, bit, family, rule->sources, rule->n_sources);
		break;
	case FIELD_DESTINATION:
		add_nets(edges, bit, family, rule->destinations, rule->n_destinations);
		break;
	case FIELD_IFACE:
		for (size_t i = 0; i < rule->n_ifaces; i++)
			add_range(edges, bit, rule->ifaces[i], rule->ifaces[i]);
		break;
	case FIELD_DSCP:
		for (size_t i = 0; i < rule->n_dscps; i++)
			add_range(edges, bit, rule->dscps[i], rule->dscps[i]);
		break;
	case FIELD_ORIGIN:
		if (rule->from_router != rule->from_lan) /* both: nobody */
			add_range(edges, bit, rule->from_router, rule->from_router);
		break;
	case FIELDS:
		break;
	}
}

bool field_is_stated(enum field_kind kind, const struct rule_config *rule)
{
	const size_t entries[FIELDS] = {
		[FIELD_PROTOCOL] = rule->n_protocols,
		[FIELD_DPORT] = rule->n_dports,
		[FIELD_SPORT] = rule->n_sports,
		[FIELD_SOURCE] = rule->n_sources,
		[FIELD_DESTINATION] = rule->n_destinations,
		[FIELD_IFACE] = rule->n_ifaces,
		[FIELD_DSCP] = rule->n_dscps,
		[FIELD_ORIGIN] = rule->from_router + rule->from_lan,
	};

	return entries[kind] != 0;
}

static int compare_edges(const void *a, const void *b)
{
	const struct edge *left = a, *right = b;

	if (key_equal(left->at, right->at))
		return 0;
	return key_less(left->at, right->at) ? -1 : 1;
}

/* Bit of each rule in the bitmaps, and what the rules say */
struct placed_rules {
	const struct rule_config *rules;
	size_t n;
	const unsigned *position;
};

/* All edges of one family, in order. False: out of memory. */
static bool collect_edges(struct edges *edges, enum field_kind kind, unsigned family, const struct placed_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		add_rule(edges, kind, family, &rules->rules[i], rules->position[i]);
	edges->edge = calloc(edges->n + 1, sizeof(*edges->edge));
	if (!edges->edge)
		return false;
	edges->n = 0;
	for (size_t i = 0; i < rules->n; i++)
		add_rule(edges, kind, family, &rules->rules[i], rules->position[i]);
	qsort(edges->edge, edges->n, sizeof(*edges->edge), compare_edges);
	return true;
}

/* ---- the sweep ---- */

/* What is at hand while a field is compiled */
struct sweep {
	struct field *field;
	unsigned n_words, n_spans;
	uint32_t *count; /* by bit: conditions of the rule that admit the value at hand; several may overlap */
	uint64_t *bits; /* rules whose count is not 0 */
	size_t n_packed, packed_room;
	uint32_t *index; /* open hash table of classes by content, class + 1 */
	size_t index_mask;
};

static struct span *class_spans(const struct sweep *sweep, uint32_t class)
{
	return &sweep->field->spans[(size_t) class * sweep->n_spans];
}

static bool class_is(const struct sweep *sweep, uint32_t class)
{
	const struct span *spans = class_spans(sweep, class);

	for (unsigned word = 0; word < sweep->n_words; word++) {
		if (span_word(sweep->field, &spans[word / 64], word % 64) != sweep->bits[word])
			return false;
	}
	return true;
}

static bool keep_word(struct sweep *sweep, uint64_t word)
{
	if (sweep->n_packed == sweep->packed_room) {
		const size_t room = 2 * sweep->packed_room + 64;
		uint64_t *packed = realloc(sweep->field->packed, room * sizeof(*packed));

		if (!packed)
			return false;
		sweep->field->packed = packed;
		sweep->packed_room = room;
	}
	sweep->field->packed[sweep->n_packed++] = word;
	return true;
}

/* A new class with the content of sweep->bits */
static bool class_new(struct sweep *sweep)
{
	struct span *spans = class_spans(sweep, sweep->field->n_classes);

	for (unsigned word = 0; word < sweep->n_words; word++) {
		if (word % 64 == 0)
			spans[word / 64].first = (uint32_t)sweep->n_packed;
		if (!sweep->bits[word])
			continue;
		spans[word / 64].present |= UINT64_C(1) << word % 64;
		if (!keep_word(sweep, sweep->bits[word]))
			return false;
	}
	sweep->field->n_classes++;
	return true;
}

static uint64_t content_hash(const struct sweep *sweep)
{
	uint64_t hash = 0;

	for (unsigned word = 0; word < sweep->n_words; word++)
		hash = (hash ^ sweep->bits[word]) * 0x9e3779b97f4a7c15 + (hash >> 29);
	return hash ^ hash >> 32;
}

/* The class with the content of sweep->bits, made if there is none. False: out of memory. */
static bool class_find(struct sweep *sweep, uint32_t *class)
{
	size_t slot = content_hash(sweep) & sweep->index_mask;

	for (; sweep->index[slot]; slot = (slot + 1) & sweep->index_mask) {
		*class = sweep->index[slot] - 1;
		if (class_is(sweep, *class))
			return true;
	}
	*class = sweep->field->n_classes;
	sweep->index[slot] = *class + 1;
	return class_new(sweep);
}

static void toggle(struct sweep *sweep, const struct edge *edge)
{
	const uint64_t mask = UINT64_C(1) << edge->bit % 64;

	if (edge->begins && sweep->count[edge->bit]++ == 0)
		sweep->bits[edge->bit / 64] |= mask;
	else if (!edge->begins && --sweep->count[edge->bit] == 0)
		sweep->bits[edge->bit / 64] &= ~mask;
}

static bool sweep_edges(struct sweep *sweep, struct steps *steps, const struct edges *edges)
{
	steps->step = calloc(edges->n + 1, sizeof(*steps->step));
	if (!steps->step)
		return false;
	steps->n = 1; /* from 0 on: class 0, unless an edge is there */
	for (size_t i = 0; i < edges->n;) {
		const struct key at = edges->edge[i].at;
		uint32_t class;

		for (; i < edges->n && key_equal(edges->edge[i].at, at); i++)
			toggle(sweep, &edges->edge[i]);
		if (!class_find(sweep, &class))
			return false;
		if (!key_equal(steps->step[steps->n - 1].first, at))
			steps->n++;
		steps->step[steps->n - 1] = (struct step){ .first = at, .class = class };
	}
	return true;
}

static void sweep_end(struct sweep *sweep)
{
	free(sweep->count);
	free(sweep->bits);
	free(sweep->index);
}

static bool sweep_begin(struct sweep *sweep, unsigned n_words, size_t n_edges)
{
	size_t room = 4;
	uint32_t empty;

	while (room < 2 * (n_edges + 1))
		room *= 2;
	sweep->index_mask = room - 1;
	sweep->n_words = n_words;
	sweep->n_spans = words_for(n_words);
	sweep->count = calloc((size_t)n_words * 64, sizeof(*sweep->count));
	sweep->bits = calloc(n_words, sizeof(*sweep->bits));
	sweep->index = calloc(room, sizeof(*sweep->index));
	sweep->field->spans = calloc((n_edges + 1) * sweep->n_spans, sizeof(*sweep->field->spans));
	return sweep->count && sweep->bits && sweep->index && sweep->field->spans && class_find(sweep, &empty);
}

/* ---- one field ---- */

/* The page at `number` gets the classes of its values; *step is the one of its first, and moves on */
static void fill_page(struct field *field, size_t number, size_t first, size_t *step)
{
	const struct steps *steps = &field->steps[0];

	for (size_t i = 0; i < PAGE_VALUES; i++) {
		while (*step + 1 < steps->n && steps->step[*step + 1].first.low <= first + i)
			++*step;
		field->page[number][i] = steps->step[*step].class;
	}
}

static bool compile_table(struct field *field)
{
	const size_t n = (table_size[field->kind] + PAGE_VALUES - 1) / PAGE_VALUES;
	size_t kept = 0, step = 0;
	void *shrunk;

	field->page_of = calloc(n, sizeof(*field->page_of));
	field->page = calloc(n, sizeof(*field->page));
	if (!field->page_of || !field->page)
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t same = 0;

		fill_page(field, kept, i * PAGE_VALUES, &step);
		while (memcmp(field->page[same], field->page[kept], sizeof(*field->page)))
			same++;
		field->page_of[i] = (uint16_t)same;
		kept += same == kept;
	}
	shrunk = realloc(field->page, kept * sizeof(*field->page));
	if (shrunk)
		field->page = shrunk;
	return true;
}

#define MAX_BUCKETS 16384

static bool fill_buckets(struct steps *steps, unsigned family)
{
	uint64_t bucket = 0;
	size_t at = 0;

	steps->bucket = calloc(steps->n_buckets + 1, sizeof(*steps->bucket));
	if (!steps->bucket)
		return false;
	for (; bucket < steps->n_buckets; bucket++) {
		const uint64_t begin = steps->base + (bucket << steps->shift);

		/* before the first step that starts in this bucket, wherever in it */
		while (at + 1 < steps->n && key_prefix(steps->step[at + 1].first, family) < begin)
			at++;
		steps->bucket[bucket] = (uint32_t)at;
	}
	steps->bucket[bucket] = (uint32_t)steps->n - 1;
	return true;
}

/* Where the look-up of an address begins */
static bool compile_buckets(struct steps *steps, unsigned family)
{
	uint64_t space;
	size_t wanted = 4;

	if (steps->n < 2) {
		steps->n_buckets = 1;
		return fill_buckets(steps, family);
	}
	while (wanted < steps->n / 2 && wanted < MAX_BUCKETS)
		wanted *= 2;
	steps->base = key_prefix(steps->step[1].first, family);
	space = key_prefix(steps->step[steps->n - 1].first, family) - steps->base;
	while (space >> steps->shift >= wanted)
		steps->shift++;
	steps->n_buckets = (space >> steps->shift) + 1;
	return fill_buckets(steps, family);
}

/* Steps in the largest bucket, apart from the one where each begins */
static size_t widest_bucket(const struct steps *steps)
{
	size_t widest = 0;

	for (uint64_t i = 0; i < steps->n_buckets; i++) {
		const size_t width = steps->bucket[i + 1] - steps->bucket[i];

		widest = width > widest ? width : widest;
	}
	return widest;
}

/* What searches look at, for IPv6: the steps themselves, and more behind them */
static bool compile_search6(struct steps *steps)
{
	const size_t widest = widest_bucket(steps);
	const struct step last = { .first = { UINT64_MAX, UINT64_MAX }, .class = steps->step[steps->n - 1].class };
	struct step *step;

	while (widest >> steps->rounds)
		steps->rounds++;
	step = realloc(steps->step, (steps->n + ((size_t)1 << steps->rounds)) * sizeof(*step));
	if (!step)
		return false;
	steps->step = step;
	for (size_t i = 0; i < (size_t)1 << steps->rounds; i++)
		step[steps->n + i] = last;
	return true;
}

static bool compile_search4(struct steps *steps)
{
	const size_t widest = widest_bucket(steps);
	/* a network at the end of the address space ends behind it: no address is of that step */
	const size_t n = steps->n - (steps->step[steps->n - 1].first.low > UINT32_MAX);
	size_t room;

	while (widest > (size_t)SCAN4 << steps->rounds)
		steps->rounds++;
	room = steps->n + ((size_t)SCAN4 << steps->rounds);
	steps->first4 = calloc(room, sizeof(*steps->first4));
	steps->class4 = calloc(room, sizeof(*steps->class4));
	if (!steps->first4 || !steps->class4)
		return false;
	for (size_t i = 0; i < room; i++) {
		const struct step *step = &steps->step[i < n ? i : n - 1];

		steps->first4[i] = i < n ? (uint32_t)step->first.low : UINT32_MAX;
		steps->class4[i] = step->class;
	}
	return true;
}

static bool compile_lookup(struct field *field)
{
	if (table_size[field->kind])
		return compile_table(field);
	return compile_buckets(&field->steps[0], 4) && compile_search4(&field->steps[0]) &&
	       compile_buckets(&field->steps[1], 6) && compile_search6(&field->steps[1]);
}

bool field_compile(struct field *field, enum field_kind kind, const struct rule_config *rules, size_t n_rules,
		   const unsigned *position, unsigned n_words)
{
	const struct placed_rules placed = { .rules = rules, .n = n_rules, .position = position };
	struct edges edges4 = { .edge = NULL }, edges6 = { .edge = NULL };
	struct sweep sweep = { .field = field };
	bool ok;

	field->kind = kind;
	ok = collect_edges(&edges4, kind, 4, &placed);
	/* what an initialiser leaves out is 0: NOLINTNEXTLINE(clang-analyzer-core.uninitialized.Branch) */
	if (ok && !table_size[kind])
		ok = collect_edges(&edges6, kind, 6, &placed);
	ok = ok && sweep_begin(&sweep, n_words, edges4.n + edges6.n) &&
	     sweep_edges(&sweep, &field->steps[0], &edges4) && sweep_edges(&sweep, &field->steps[1], &edges6) &&
	     compile_lookup(field);
	sweep_end(&sweep);
	free(edges4.edge);
	free(edges6.edge);
	return ok;
}

void field_free(struct field *field)
{
	for (unsigned i = 0; i < 2; i++) {
		free(field->steps[i].step);
		free(field->steps[i].bucket);
		free(field->steps[i].first4);
		free(field->steps[i].class4);
	}
	free(field->page_of);
	free(field->page);
	free(field->spans);
	free(field->packed);
}
