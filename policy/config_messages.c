/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_messages.c - messages about a configuration, and memory for its parts
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/config_parse.h"

/* Takes `text`, also when there is no room for it */
static bool messages_push(struct config_messages *messages, char *text)
{
	char **grown = realloc(messages->text, (messages->n + 1) * sizeof(*grown));

	if (grown == NULL) {
		free(text);
		return false;
	}
	messages->text = grown;
	grown[messages->n++] = text;
	return true;
}

bool messages_add(struct config_messages *messages, const char *format, ...)
{
	va_list args;
	bool added;
	char *text;

	va_start(args, format);
	added = vasprintf(&text, format, args) >= 0 && messages_push(messages, text);
	va_end(args);
	return added;
}

void config_messages_free(struct config_messages *messages)
{
	for (size_t i = 0; i < messages->n; i++)
		free(messages->text[i]);
	free(messages->text);
	*messages = (struct config_messages){ 0 };
}

/* Add "FILE:LINE: WHERE" and what follows */
__attribute__((format(printf, 5, 0))) static void message_at(struct parse *parse, struct config_messages *messages,
							     const char *file, unsigned line, const char *format,
							     va_list args)
{
	bool added = false;
	char *what;

	if (vasprintf(&what, format, args) >= 0) {
		if (line != 0)
			added = messages_add(messages, "%s:%u: %s%s", file, line, parse->where, what);
		else
			added = messages_add(messages, "%s: %s%s", file, parse->where, what);
		free(what);
	}
	if (!added) /* an error that nobody reads must still refuse the configuration */
		parse->no_memory = true;
}

void parse_error(struct parse *parse, const char *file, unsigned line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message_at(parse, parse->errors, file, line, format, args);
	va_end(args);
}

void parse_warning(struct parse *parse, const char *file, unsigned line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	message_at(parse, parse->warnings, file, line, format, args);
	va_end(args);
}

void value_error(struct parse *parse, const char *key, const struct value *value, const char *format, ...)
{
	char shown[SHOWN_MAX];
	va_list args;
	char *expected;

	va_start(args, format);
	if (vasprintf(&expected, format, args) >= 0) {
		parse_error(parse, value->file, value->line, "%s %s, expected %s", key, text_shown(value->text, shown),
			    expected);
		free(expected);
	} else {
		parse->no_memory = true;
	}
	va_end(args);
}

void parse_where(struct parse *parse, const char *kind, const char *title)
{
	char shown[SHOWN_MAX];

	if (kind == NULL) {
		parse->where[0] = '\0';
		return;
	}
	snprintf(parse->where, sizeof(parse->where), "%s \"%.*s\": ", kind, CONFIG_NAME_MAX,
		 title == NULL ? "" : text_plain(title, shown));
}

const char *text_plain(const char *text, char out[SHOWN_MAX])
{
	size_t n = 0;

	for (; *text != '\0' && n < SHOWN_MAX - 5; text++)
		out[n++] = isprint((unsigned char)*text) ? *text : '?';
	if (*text != '\0') {
		memcpy(out + n, "...", 3);
		n += 3;
	}
	out[n] = '\0';
	return out;
}

const char *text_shown(const char *text, char out[SHOWN_MAX])
{
	char plain[SHOWN_MAX];

	text_plain(text, plain);
	if (strchr(text, ' ') == NULL &&
	    (isdigit((unsigned char)text[0]) || (text[0] == '-' && isdigit((unsigned char)text[1]))))
		snprintf(out, SHOWN_MAX, "%s", plain);
	else
		snprintf(out, SHOWN_MAX, "\"%.*s\"", SHOWN_MAX - 3, plain);
	return out;
}

void *parse_push(struct parse *parse, void *array, size_t *n, size_t size)
{
	char *base;

	memcpy(&base, array, sizeof(base));
	/* room is a power of two: full exactly when the count is one */
	if ((*n & (*n - 1)) == 0) {
		char *grown = reallocarray(base, *n == 0 ? 1 : *n * 2, size);

		if (grown == NULL) {
			parse->no_memory = true;
			return NULL;
		}
		base = grown;
		memcpy(array, &base, sizeof(base));
	}
	return memset(base + (*n)++ * size, 0, size);
}

char *parse_strdup(struct parse *parse, const char *text)
{
	char *copy = strdup(text);

	if (copy == NULL)
		parse->no_memory = true;
	return copy;
}
