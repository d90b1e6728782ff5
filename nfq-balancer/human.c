/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/human.c - numbers and names as people read them, and columns
 */
#include "nfq-balancer/human.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static const char units[] = " kMGTPE";

/* `value` in tenths of the largest unit that keeps it at 1 or more */
static unsigned scale(uint64_t value, uint64_t *tenths)
{
	unsigned unit = 0;
	uint64_t one = 1;

	while (unit + 2 < sizeof(units) && value / one >= 1000) {
		one *= 1000;
		unit++;
	}
	/* not value * 10 / one: that overflows near 2^64 */
	*tenths = value / one * 10 + (unit ? value % one / (one / 10) : 0);
	return unit;
}

char *human_bytes(uint64_t bytes, char *out)
{
	uint64_t tenths;
	unsigned unit = scale(bytes, &tenths);

	if (unit == 0)
		snprintf(out, HUMAN_LEN, "%" PRIu64, bytes);
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 ".%" PRIu64 " %c", tenths / 10, tenths % 10, units[unit]);
	return out;
}

char *human_rate(uint64_t bits, char *out)
{
	uint64_t tenths;
	unsigned unit = scale(bits, &tenths);

	if (unit == 0)
		snprintf(out, HUMAN_LEN, "%" PRIu64, bits);
	else if (tenths % 10 == 0)
		snprintf(out, HUMAN_LEN, "%" PRIu64 "%c", tenths / 10, units[unit]);
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 ".%" PRIu64 "%c", tenths / 10, tenths % 10, units[unit]);
	return out;
}

char *human_tenths(uint64_t tenths, char *out)
{
	if (tenths % 10 == 0 || tenths >= 100)
		snprintf(out, HUMAN_LEN, "%" PRIu64, (tenths + 5) / 10);
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
	return out;
}

char *human_age(uint64_t seconds, char *out)
{
	if (seconds < 60)
		snprintf(out, HUMAN_LEN, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		snprintf(out, HUMAN_LEN, "%" PRIu64 " min", seconds / 60);
	else if (seconds < 86400)
		snprintf(out, HUMAN_LEN, "%" PRIu64 " h", seconds / 3600);
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 " d", seconds / 86400);
	return out;
}

/* part / whole in units of 1/parts, rounded to the nearest */
static uint64_t ratio(uint64_t part, uint64_t whole, uint64_t parts)
{
	while (part > UINT64_MAX / (2 * parts)) {
		part >>= 1;
		whole >>= 1;
	}
	return (part * parts * 2 + whole) / (whole * 2);
}

char *human_percent(uint64_t part, uint64_t whole, char *out)
{
	if (whole == 0)
		snprintf(out, HUMAN_LEN, "-");
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 " %%", ratio(part, whole, 100));
	return out;
}

char *human_percent2(uint64_t part, uint64_t whole, char *out)
{
	uint64_t hundredths;

	if (whole == 0) {
		snprintf(out, HUMAN_LEN, "-");
		return out;
	}
	hundredths = ratio(part, whole, 10000);
	if (hundredths == 0 && part > 0)
		snprintf(out, HUMAN_LEN, "<0.01 %%");
	else if (hundredths >= 10000 && part < whole)
		snprintf(out, HUMAN_LEN, ">99.99 %%");
	else if (hundredths % 10000 == 0)
		snprintf(out, HUMAN_LEN, "%" PRIu64 " %%", hundredths / 100);
	else
		snprintf(out, HUMAN_LEN, "%" PRIu64 ".%02" PRIu64 " %%", hundredths / 100, hundredths % 100);
	return out;
}

/* ---- names ---- */

/* Not getprotobyname(): a small system has no /etc/protocols */
static const struct {
	uint8_t number;
	char name[12];
} protocols[] = {
	{ IPPROTO_TCP, "tcp" },	  { IPPROTO_UDP, "udp" },   { IPPROTO_ICMP, "icmp" }, { IPPROTO_ICMPV6, "icmpv6" },
	{ IPPROTO_SCTP, "sctp" }, { IPPROTO_DCCP, "dccp" }, { IPPROTO_GRE, "gre" },   { IPPROTO_ESP, "esp" },
	{ IPPROTO_AH, "ah" },	  { IPPROTO_IPIP, "ipip" }, { IPPROTO_IGMP, "igmp" }, { IPPROTO_UDPLITE, "udplite" },
};

#define N_PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

char *human_protocol(uint8_t protocol, char *out)
{
	for (size_t i = 0; i < N_PROTOCOLS; i++) {
		if (protocols[i].number == protocol) {
			snprintf(out, HUMAN_LEN, "%s", protocols[i].name);
			return out;
		}
	}
	snprintf(out, HUMAN_LEN, "%u", protocol);
	return out;
}

int human_protocol_parse(const char *text)
{
	char *end;
	unsigned long number;

	for (size_t i = 0; i < N_PROTOCOLS; i++) {
		if (strcmp(protocols[i].name, text) == 0)
			return protocols[i].number;
	}
	if (text[0] < '0' || text[0] > '9')
		return -1;
	number = strtoul(text, &end, 10);
	return *end == '\0' && number <= UINT8_MAX ? (int)number : -1;
}

const char *human_file(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *human_endpoint(const struct flow *flow, bool source, char *out)
{
	char addr[FLOW_ADDR_STRLEN];
	unsigned port = source ? flow->sport : flow->dport;

	flow_addr_str(source ? &flow->src : &flow->dst, addr);
	if (!flow->ports)
		snprintf(out, FLOW_ADDR_STRLEN + 8, "%s", addr);
	else if (flow->family == 6)
		snprintf(out, FLOW_ADDR_STRLEN + 8, "[%s]:%u", addr, port);
	else
		snprintf(out, FLOW_ADDR_STRLEN + 8, "%s:%u", addr, port);
	return out;
}

/* ---- columns ---- */

#define COLUMNS_MAX 16

struct columns {
	FILE *stream;
	char *raw; /* what was added, tabs between cells */
	size_t size;
	size_t width[COLUMNS_MAX];
};

struct columns *columns_new(void)
{
	struct columns *columns = calloc(1, sizeof(*columns));

	if (!columns)
		return NULL;
	columns->stream = open_memstream(&columns->raw, &columns->size);
	if (!columns->stream) {
		free(columns);
		return NULL;
	}
	return columns;
}

void columns_add(struct columns *columns, const char *format, ...)
{
	va_list args;

	if (!columns)
		return;
	va_start(args, format);
	vfprintf(columns->stream, format, args);
	va_end(args);
	fputc('\n', columns->stream);
}

static void columns_measure(struct columns *columns)
{
	size_t column = 0, length = 0;

	for (const char *p = columns->raw; *p; p++) {
		if (*p == '\t' || *p == '\n') {
			/* the last cell of a line needs no room of its own */
			if (*p == '\t' && column < COLUMNS_MAX && length > columns->width[column])
				columns->width[column] = length;
			column = *p == '\n' ? 0 : column + 1;
			length = 0;
		} else {
			length++;
		}
	}
}

static void columns_print(const struct columns *columns, FILE *out)
{
	size_t column = 0, length = 0, blanks = 0;

	for (const char *p = columns->raw; *p; p++) {
		if (*p == '\t') {
			blanks += (column < COLUMNS_MAX ? columns->width[column] : length) - length + 2;
			column++;
			length = 0;
		} else if (*p == '\n') {
			/* blanks before the end of a line are left out */
			fputc('\n', out);
			column = length = blanks = 0;
		} else {
			fprintf(out, "%*s%c", (int)blanks, "", *p);
			blanks = 0;
			length++;
		}
	}
}

char *columns_text(struct columns *columns)
{
	char *text = NULL;
	size_t size;
	FILE *out;

	if (!columns)
		return NULL;
	if (fclose(columns->stream) == 0) {
		columns_measure(columns);
		out = open_memstream(&text, &size);
		if (out) {
			columns_print(columns, out);
			if (fclose(out)) {
				free(text);
				text = NULL;
			}
		}
	}
	free(columns->raw);
	free(columns);
	return text;
}
