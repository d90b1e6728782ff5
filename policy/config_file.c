/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_file.c - the grammar: what libconfuse reads, and config_load()
 *
 * libconfuse keeps no line per option. So every option here is a "pointer" whose
 * parse callback copies the raw text together with file and line (struct value),
 * and every section has a hidden option with a default that libconfuse parses when it
 * opens the section, which records where that was. Types, ranges and references are
 * checked afterwards, all in one run.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"

#define MAX_INCLUDES 16

/* libconfuse's callbacks carry no argument of ours. Set only within config_load(). */
static struct parse *current;

static int read_into(cfg_t *cfg, const char *path);

/* ---- callbacks ---- */

/* A key is given once; later ones win, as libconfuse does it, but not silently. Where it
 * was given is kept in the option's default number, which pointers do not use. */
static void warn_again(const cfg_t *cfg, cfg_opt_t *opt)
{
	bool first = (opt->flags & CFGF_LIST) == 0 || opt->nvalues == 1;

	if (opt->def.number != 0 && first) {
		parse_where(current, cfg->title == NULL ? NULL : cfg->name, cfg->title);
		parse_warning(current, current->file, (unsigned)cfg->line, "%s is given again, line %ld does not count",
			      opt->name, opt->def.number);
		parse_where(current, NULL, NULL);
	}
	if (first)
		opt->def.number = cfg->line;
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	size_t size = strlen(text) + 1;
	struct value *value = malloc(sizeof(*value) + size);

	warn_again(cfg, opt);
	if (value == NULL) {
		current->no_memory = true;
		return -1;
	}
	value->file = current->file;
	value->line = (unsigned)cfg->line;
	memcpy(value->text, text, size);
	*(void **)result = value;
	return 0;
}

/* FNV-1a */
static uint32_t name_hash(const char *name)
{
	uint32_t hash = 0x811c9dc5;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 0x01000193;
	return hash;
}

/* The name of an open section, `link "a"`, unless it was opened before, which is reported */
static char *section_name(const cfg_t *cfg, uint32_t *hash)
{
	bool tier = strcmp(cfg->name, "tier") == 0;
	char shown[SHOWN_MAX];
	char *name;

	if (!tier)
		snprintf(current->outer, sizeof(current->outer), "%s \"%.*s\"", cfg->name, CONFIG_NAME_MAX + 1,
			 text_plain(cfg->title, shown));
	if (asprintf(&name, "%s \"%s\"%s%s", cfg->name, text_plain(cfg->title, shown), tier ? " of " : "",
		     tier ? current->outer : "") < 0) {
		current->no_memory = true;
		return NULL;
	}
	*hash = name_hash(name);
	for (size_t i = 0; i < current->n_seen; i++) {
		const struct section_seen *seen = &current->seen[i];

		if (seen->hash == *hash && strcmp(seen->name, name) == 0) {
			parse_error(current, current->file, (unsigned)cfg->line, "%s is defined twice, first at %s:%u",
				    name, seen->file, seen->line);
			free(name);
			return NULL;
		}
	}
	return name;
}

/* A section opens: remember the place. libconfuse calls abort() when a default
 * fails to parse, so trouble is only noted here. */
static int on_start(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *result)
{
	struct section_seen *seen;
	uint32_t hash;
	char *name;

	*(void **)result = NULL;
	on_value(cfg, opt, text, result);
	name = section_name(cfg, &hash);
	if (name == NULL)
		return 0;
	seen = parse_push(current, &current->seen, &current->n_seen, sizeof(*seen));
	if (seen == NULL)
		free(name);
	else
		*seen = (struct section_seen){
			.name = name,
			.hash = hash,
			.file = current->file,
			.line = (unsigned)cfg->line,
		};
	return 0;
}

static int on_include(cfg_t *cfg, cfg_opt_t *opt, int argc, const char **argv)
{
	char *path;
	int result;

	(void)opt;
	(void)argc; /* one: text_prepare() looked */
	path = parse_relative_path(current, current->file, argv[0]);
	if (path == NULL)
		return -1;
	result = read_into(cfg, path);
	free(path);
	return result;
}

/* ---- the words of the file ---- */

static char start_default[] = "x"; /* any text: it only makes libconfuse call on_start() */

#define VALUE(key)                                                                                            \
	{                                                                                                     \
		.name = (key), .type = CFGT_PTR, .flags = CFGF_NODEFAULT, .parsecb = on_value, .freecb = free \
	}
#define LIST(key)                                                                                          \
	{                                                                                                  \
		.name = (key), .type = CFGT_PTR, .flags = CFGF_NODEFAULT | CFGF_LIST, .parsecb = on_value, \
		.freecb = free                                                                             \
	}
#define START                                                                                              \
	{                                                                                                  \
		.name = SECTION_START, .type = CFGT_PTR, .def.parsed = start_default, .parsecb = on_start, \
		.freecb = free                                                                             \
	}

static cfg_opt_t link_options[] = {
	START,
	VALUE("id"),
	VALUE("interface"),
	VALUE("gateway"),
	VALUE("gateway6"),
	VALUE("weight"),
	VALUE("fallback-weight"),
	VALUE("download"),
	VALUE("upload"),
	VALUE("table"),
	VALUE("table-name"),
	VALUE("nat"),
	VALUE("nat6"),
	VALUE("address"),
	LIST("prefixes6"),
	CFG_END(),
};

static cfg_opt_t tier_options[] = {
	START,
	LIST("links"),
	CFG_END(),
};

static cfg_opt_t group_options[] = {
	START,
	LIST("links"),
	CFG_SEC("tier", tier_options, CFGF_MULTI | CFGF_TITLE),
	VALUE("scheduler"),
	VALUE("spill-at"),
	VALUE("sticky"),
	VALUE("sticky-timeout"),
	CFG_END(),
};

static cfg_opt_t rule_options[] = {
	START,
	LIST("protocol"),
	LIST("destination-port"),
	LIST("destination-port-file"),
	LIST("source-port"),
	LIST("source-port-file"),
	LIST("source"),
	LIST("destination"),
	LIST("interface"),
	VALUE("from"),
	LIST("dscp"),
	LIST("mark"),
	VALUE("use"),
	VALUE("if-down"),
	CFG_END(),
};

static cfg_opt_t root_options[] = {
	LIST("lan"),
	VALUE("mask"),
	VALUE("queue"),
	VALUE("queues"),
	VALUE("queue-length"),
	VALUE("spin"),
	LIST("pin"),
	VALUE("fallback"),
	VALUE("local"),
	VALUE("feedback"),
	VALUE("feedback-budget"),
	VALUE("feedback-interval"),
	VALUE("offload"),
	VALUE("ip-forward"),
	LIST("helpers"),
	VALUE("source-limit"),
	VALUE("sticky-entries"),
	VALUE("rule-preference"),
	VALUE("socket"),
	VALUE("socket-group"),
	VALUE("user"),
	VALUE("run-directory"),
	VALUE("state-directory"),
	VALUE("log-level"),
	CFG_SEC("link", link_options, CFGF_MULTI | CFGF_TITLE),
	CFG_SEC("group", group_options, CFGF_MULTI | CFGF_TITLE),
	CFG_SEC("rule", rule_options, CFGF_MULTI | CFGF_TITLE),
	CFG_FUNC("include", on_include),
	CFG_END(),
};

/* ---- errors of the grammar ---- */

/* libconfuse's formats with one %s, and how we say it: BEFORE "word" AFTER */
static const struct syntax_message {
	const char *format, *before, *after;
} syntax_messages[] = {
	{ "unexpected token '%s'", "unexpected", ", expected a key or value, or after a list's value ',' or '}'" },
	{ "missing equal sign after option '%s'", "no '=' after", "" },
	{ "attempt to append to non-list option '%s'", "'+=' after", ", which is no list, expected '='" },
	{ "missing opening brace for section '%s'", "no '{' after the name of a", ", expected NAME { ... }" },
	{ "missing title for section '%s'", "no name after", ", expected \"NAME\" { ... }" },
	{ "missing parenthesis for function '%s'", "no '(' after", ", expected include(\"FILE\")" },
};

/* Edits that turn `a` into `b` (Levenshtein), as far as words of our length need it */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[32];
	size_t width = strlen(b);

	if (width >= sizeof(row) / sizeof(row[0]))
		return UINT_MAX;
	for (unsigned j = 0; j <= width; j++)
		row[j] = j;
	for (; *a != '\0'; a++) {
		unsigned diagonal = row[0]++;

		for (size_t j = 1; j <= width; j++) {
			unsigned best = diagonal + (*a != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[width];
}

/* The key of this section that is spelt most like `word`, or NULL when none is near */
static const char *nearest_key(const cfg_t *cfg, const char *word)
{
	const char *nearest = NULL;
	unsigned least = (unsigned)strlen(word) / 3 + 2;

	for (const cfg_opt_t *opt = cfg->opts; opt->name != NULL; opt++) {
		unsigned distance = edit_distance(word, opt->name);

		if (strcmp(opt->name, SECTION_START) != 0 && distance < least && distance < strlen(opt->name)) {
			least = distance;
			nearest = opt->name;
		}
	}
	return nearest;
}

/* "Mbit", as in "download = 100 Mbit" */
static bool is_unit(const char *word)
{
	const char *unit = word + (*word != '\0' && strchr("kKMG", *word) != NULL);

	return strcmp(unit, "bit") == 0 || strcmp(unit, "bit/s") == 0;
}

static void unknown_key(cfg_t *cfg, const char *word)
{
	const char *nearest = nearest_key(cfg, word);
	unsigned line = (unsigned)cfg->line;
	char shown[SHOWN_MAX];

	text_plain(word, shown);
	if (strcmp(word, "include") == 0)
		parse_error(current, current->file, line, "include stands outside of sections only");
	else if (cfg->title != NULL &&
		 (strcmp(word, "link") == 0 || strcmp(word, "group") == 0 || strcmp(word, "rule") == 0))
		parse_error(current, current->file, line, "\"%s\" within a section, expected '}' before it", word);
	else if (is_unit(word))
		parse_error(current, current->file, line,
			    "unexpected \"%s\", expected it behind its number without a space, or both in quotes",
			    shown);
	else if (nearest != NULL)
		parse_error(current, current->file, line, "unknown key \"%s\", did you mean \"%s\"?", shown, nearest);
	else
		parse_error(current, current->file, line, "unknown key \"%s\", see nfq-balancer.conf(5)", shown);
}

/* The first syntax error: it alone is reported, what follows is guesswork */
__attribute__((format(printf, 2, 0))) static void on_syntax_error(cfg_t *cfg, const char *format, va_list args)
{
	char shown[SHOWN_MAX];
	char text[256];

	config_messages_free(current->errors);
	parse_where(current, cfg->title == NULL ? NULL : cfg->name, cfg->title);
	if (strcmp(format, "no such option '%s'") == 0) {
		unknown_key(cfg, va_arg(args, const char *));
		return;
	}
	for (size_t i = 0; i < sizeof(syntax_messages) / sizeof(syntax_messages[0]); i++) {
		const struct syntax_message *message = &syntax_messages[i];

		if (strcmp(format, message->format) == 0) {
			parse_error(current, current->file, (unsigned)cfg->line, "%s \"%s\"%s", message->before,
				    text_plain(va_arg(args, const char *), shown), message->after);
			return;
		}
	}
	if (strcmp(format, "premature end of file") == 0)
		snprintf(text, sizeof(text), "the file ends too early, expected a value");
	else if (strcmp(format, "unexpected closing brace") == 0)
		snprintf(text, sizeof(text), "unexpected '}', expected a key");
	else
		vsnprintf(text, sizeof(text), format, args);
	parse_error(current, current->file, (unsigned)cfg->line, "%s", text);
}

/* ---- reading ---- */

/* Report a file that cannot be read: the first one, or one that `current->file` includes */
static void unreadable(const cfg_t *cfg, const char *path)
{
	const char *why = parse_file_trouble();

	if (current->file != NULL)
		parse_error(current, current->file, (unsigned)cfg->line, "include \"%s\": %s", path, why);
	else
		parse_error(current, path, 0, "%s", why);
}

/* Parse a file into `cfg`, from within another one or as the first */
static int read_into(cfg_t *cfg, const char *path)
{
	const char *outer_file = current->file;
	int outer_line = cfg->line;
	const char *file;
	unsigned open_brace;
	size_t length;
	FILE *stream;
	char *text;
	int result = -1;

	if (current->depth == MAX_INCLUDES) {
		parse_error(current, current->file, (unsigned)cfg->line,
			    "include \"%s\": more than %d files deep, expected fewer: does it include itself?", path,
			    MAX_INCLUDES);
		return -1;
	}
	text = parse_read_file(current, path, &length, &file);
	if (text == NULL) {
		unreadable(cfg, path);
		return -1;
	}
	current->file = file;
	current->depth++;
	if (!text_prepare(current, file, text, length, &open_brace))
		goto out;
	text[length] = '\n'; /* in place of the NUL: older C libraries open no empty memory */
	stream = fmemopen(text, length + 1, "r");
	if (stream == NULL) {
		current->no_memory = true;
		goto out;
	}
	result = cfg_parse_fp(cfg, stream) == CFG_SUCCESS ? 0 : -1;
	fclose(stream);
	if (result == 0 && open_brace != 0) {
		config_messages_free(current->errors);
		parse_error(current, file, open_brace, "'{' is opened here and never closed, expected '}'");
		result = -1;
	}
	cfg->line = outer_line;
	current->file = outer_file;
out:
	current->depth--;
	free(text);
	return result;
}

static void build(struct parse *parse, cfg_t *root)
{
	parse_top(parse, root);
	parse_links(parse, root);
	parse_groups(parse, root);
	parse_rules(parse, root);
	parse_check(parse);
}

static void parse_done(struct parse *parse)
{
	for (size_t i = 0; i < parse->n_seen; i++)
		free(parse->seen[i].name);
	free(parse->seen);
	if (parse->no_memory)
		messages_add(parse->errors, "out of memory");
}

struct config *config_load(const char *path, struct config_messages *errors, struct config_messages *warnings)
{
	struct parse parse = { .errors = errors, .warnings = warnings };
	struct config *config = calloc(1, sizeof(*config));
	cfg_t *root;

	if (config == NULL) {
		messages_add(errors, "out of memory");
		return NULL;
	}
	parse.config = config;
	config->file = parse_strdup(&parse, path);
	root = cfg_init(root_options, CFGF_NONE);
	if (root == NULL) {
		parse.no_memory = true;
	} else {
		current = &parse;
		cfg_set_error_function(root, on_syntax_error);
		if (read_into(root, path) == 0)
			build(&parse, root);
		else if (errors->n == 0)
			parse.no_memory = true;
		cfg_free(root);
		current = NULL;
	}
	parse_done(&parse);
	if (errors->n == 0 && !parse.no_memory)
		return config;
	config_free(config);
	return NULL;
}
