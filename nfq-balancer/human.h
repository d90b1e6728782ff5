/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/human.h - numbers and names as people read them, and columns
 *
 * Integers only. Each function fills and returns a buffer of HUMAN_LEN bytes.
 */
#ifndef NFQB_HUMAN_H
#define NFQB_HUMAN_H

#include <stddef.h>
#include <stdint.h>

#include "policy/flow.h"

#define HUMAN_LEN 24

char *human_bytes(uint64_t bytes, char *out); /* "812", "1.2 G" */
char *human_rate(uint64_t bits, char *out); /* "14.2M", "20M": bit/s */
char *human_tenths(uint64_t tenths, char *out); /* 5 -> "0.5", 20 -> "2" */
char *human_age(uint64_t seconds, char *out); /* "12 s", "5 min", "2 h", "3 d" */
char *human_percent(uint64_t part, uint64_t whole, char *out); /* "66 %"; "-" of nothing */
char *human_percent2(uint64_t part, uint64_t whole, char *out); /* "99.98 %", never 0 or 100 unless exactly so */
char *human_protocol(uint8_t protocol, char *out); /* "tcp", "47" */
int human_protocol_parse(const char *text); /* -1: unknown */
const char *human_file(const char *path); /* its last part */

/* "192.0.2.1:443", "[2001:db8::1]:443", no port where the protocol has none.
 * `out` holds FLOW_ADDR_STRLEN + 8 bytes. */
char *human_endpoint(const struct flow *flow, bool source, char *out);

/* Lines of tab-separated cells, laid out in columns two spaces apart */
struct columns;
struct columns *columns_new(void); /* NULL: out of memory */
void columns_add(struct columns *columns, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *columns_text(struct columns *columns); /* frees `columns`; free() the text; NULL: out of memory */

#endif
