/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_text.c - reads configuration files and makes their text ready for libconfuse
 *
 * libconfuse (3.3) counts the line of a comment three times, expands ${variables} of
 * whoever happens to start the program, reports an open string without a word and
 * swallows characters it does not know. So comments become spaces here, line ends
 * stay, and the rest is refused with its line before libconfuse sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/config_parse.h"

#define MAX_BRACES 8 /* a list within a tier within a group is three */
#define FILE_MAX (1u << 20) /* no configuration or port list is longer */

/* FNV-1a: only has to tell that a file changed */
static uint64_t checksum_add(uint64_t sum, const char *bytes, size_t length)
{
	if (sum == 0)
		sum = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < length; i++)
		sum = (sum ^ (unsigned char)bytes[i]) * UINT64_C(0x100000001b3);
	return sum;
}

/* Open a file without ever waiting for it, as a pipe would make us; errno 0: it is no regular file */
static FILE *open_regular(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	FILE *stream;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (stream = fdopen(fd, "r")) != NULL)
		return stream;
	close(fd);
	errno = 0;
	return NULL;
}

const char *parse_file_trouble(void)
{
	return errno == 0 ? "not a regular file" : strerror(errno);
}

/* All bytes of a stream and a NUL; NULL and errno on trouble */
static char *read_all(FILE *file, size_t *length)
{
	size_t room = 8192;
	char *bytes = malloc(room);

	*length = 0;
	while (bytes != NULL) {
		char *grown;

		*length += fread(bytes + *length, 1, room - 1 - *length, file);
		if (ferror(file) || *length > FILE_MAX) {
			if (!ferror(file))
				errno = EFBIG;
			break;
		}
		if (feof(file)) {
			bytes[*length] = '\0';
			return bytes;
		}
		if (*length < room - 1)
			continue;
		grown = realloc(bytes, room *= 2);
		if (grown == NULL)
			break;
		bytes = grown;
	}
	free(bytes);
	return NULL;
}

/* The name among config.files, added when it is new */
static const char *intern_file(struct parse *parse, const char *path)
{
	struct config *config = parse->config;
	char **slot;
	char *copy;

	for (size_t i = 0; i < config->n_files; i++)
		if (strcmp(config->files[i], path) == 0)
			return config->files[i];
	copy = parse_strdup(parse, path);
	if (copy == NULL)
		return NULL;
	slot = parse_push(parse, &config->files, &config->n_files, sizeof(*slot));
	if (slot == NULL) {
		free(copy);
		return NULL;
	}
	return *slot = copy;
}

char *parse_read_file(struct parse *parse, const char *path, size_t *length, const char **file)
{
	size_t known = parse->config->n_files;
	char *bytes;
	FILE *stream = open_regular(path);
	int error;

	if (stream == NULL)
		return NULL;
	bytes = read_all(stream, length);
	error = errno;
	fclose(stream);
	if (bytes == NULL) {
		errno = error;
		return NULL;
	}
	*file = intern_file(parse, path);
	if (*file == NULL) {
		free(bytes);
		errno = ENOMEM;
		return NULL;
	}
	/* a file that is used twice is in config.files once, and counts once */
	if (parse->config->n_files > known)
		parse->config->checksum = checksum_add(parse->config->checksum, bytes, *length);
	/* editors of other systems put a mark of the encoding in front of UTF-8 */
	if (strncmp(bytes, "\xef\xbb\xbf", 3) == 0) {
		*length -= 3;
		memmove(bytes, bytes + 3, *length + 1);
	}
	return bytes;
}

uint64_t config_files_checksum(const struct config *config)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < config->n_files; i++) {
		FILE *stream = open_regular(config->files[i]);
		size_t length = 0;
		char *bytes = stream == NULL ? NULL : read_all(stream, &length);

		if (stream != NULL)
			fclose(stream);
		if (bytes == NULL)
			return 0;
		sum = checksum_add(sum, bytes, length);
		free(bytes);
	}
	return sum;
}

const char *config_files_unreadable(const struct config *config, const char **why)
{
	for (size_t i = 0; i < config->n_files; i++) {
		FILE *stream = open_regular(config->files[i]);

		if (stream == NULL) {
			*why = parse_file_trouble();
			return config->files[i];
		}
		fclose(stream);
	}
	return NULL;
}

char *parse_relative_path(struct parse *parse, const char *file, const char *name)
{
	const char *slash = strrchr(file, '/');
	char *path;

	if (name[0] == '/' || slash == NULL)
		return parse_strdup(parse, name);
	if (asprintf(&path, "%.*s%s", (int)(slash - file + 1), file, name) < 0) {
		parse->no_memory = true;
		return NULL;
	}
	return path;
}

/* Position in a text */
struct scan {
	struct parse *parse;
	const char *file;
	char *at, *end;
	unsigned line;
	unsigned braces[MAX_BRACES]; /* lines of those open now */
	size_t n_braces;
};

/* Bytes that the grammar has no use for, or that libconfuse would replace; false after reporting one */
static bool check_byte(struct scan *scan, bool quoted)
{
	unsigned char c = (unsigned char)scan->at[0];
	char next = scan->at[1]; /* the reader put a NUL behind the end */

	if ((c < ' ' && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
		parse_error(scan->parse, scan->file, scan->line, "byte 0x%02x, expected text", c);
	else if (c == '$' && next == '{')
		parse_error(scan->parse, scan->file, scan->line,
			    "\"${\": variables of the environment are not read, expected the value itself");
	else if (!quoted && (c == '*' || (c == '+' && next != '=')))
		parse_error(scan->parse, scan->file, scan->line, "unexpected '%c' outside of quotes", c);
	else
		return true;
	return false;
}

/* Over a string whose quote stands at scan->at; false after reporting. No value of ours
 * goes over a line's end: that is a forgotten quote. */
static bool skip_string(struct scan *scan)
{
	char quote = *scan->at++;

	while (scan->at < scan->end && *scan->at != quote) {
		if (!check_byte(scan, true))
			return false;
		if (*scan->at == '\\' && scan->at + 1 < scan->end)
			scan->at++;
		if (*scan->at++ == '\n')
			break;
	}
	if (scan->at == scan->end || scan->at[-1] == '\n') {
		parse_error(scan->parse, scan->file, scan->line, "a string is not closed on its line, expected %c",
			    quote);
		return false;
	}
	scan->at++;
	return true;
}

static void blank_line_comment(struct scan *scan)
{
	while (scan->at < scan->end && *scan->at != '\n')
		*scan->at++ = ' ';
}

static bool blank_block_comment(struct scan *scan)
{
	unsigned opened = scan->line;

	memset(scan->at, ' ', 2);
	scan->at += 2;
	while (scan->at + 1 < scan->end && !(scan->at[0] == '*' && scan->at[1] == '/')) {
		if (*scan->at == '\n')
			scan->line++;
		else
			*scan->at = ' ';
		scan->at++;
	}
	if (scan->at + 1 >= scan->end) {
		parse_error(scan->parse, scan->file, opened, "a comment is opened here and never closed, expected */");
		return false;
	}
	memset(scan->at, ' ', 2);
	scan->at += 2;
	return true;
}

/* A call at scan->at is ("FILE"): libconfuse (3.3) leaks the arguments of a wrong one */
static bool check_call(const struct scan *scan)
{
	static const char space[] = " \t\r\n";
	struct scan inner = *scan;

	inner.at++;
	inner.at += strspn(inner.at, space);
	if (*inner.at == '"' || *inner.at == '\'') {
		if (!skip_string(&inner))
			return false;
		inner.at += strspn(inner.at, space);
		if (*inner.at == ')')
			return true;
	}
	parse_error(scan->parse, scan->file, scan->line, "wrong arguments, expected include(\"FILE\")");
	return false;
}

/* Remember where braces open: libconfuse takes the end of the file for all that are missing */
static bool count_brace(struct scan *scan)
{
	if (*scan->at == '{') {
		if (scan->n_braces == MAX_BRACES) {
			parse_error(scan->parse, scan->file, scan->line,
				    "'{' within %d others, expected a '}' before it", MAX_BRACES);
			return false;
		}
		scan->braces[scan->n_braces++] = scan->line;
	} else if (*scan->at == '}' && scan->n_braces > 0) {
		scan->n_braces--;
	}
	return true;
}

bool text_prepare(struct parse *parse, const char *file, char *text, size_t length, unsigned *open_brace)
{
	struct scan scan = { .parse = parse, .file = file, .line = 1 };

	scan.at = text;
	scan.end = text + length;
	while (scan.at < scan.end) {
		if (*scan.at == '"' || *scan.at == '\'') {
			if (!skip_string(&scan))
				return false;
		} else if (*scan.at == '#' || (scan.at[0] == '/' && scan.at[1] == '/')) {
			blank_line_comment(&scan);
		} else if (scan.at[0] == '/' && scan.at[1] == '*') {
			if (!blank_block_comment(&scan))
				return false;
		} else {
			if (!check_byte(&scan, false) || !count_brace(&scan))
				return false;
			if (*scan.at == '(' && !check_call(&scan))
				return false;
			if (*scan.at++ == '\n')
				scan.line++;
		}
	}
	*open_brace = scan.n_braces == 0 ? 0 : scan.braces[scan.n_braces - 1];
	return true;
}
