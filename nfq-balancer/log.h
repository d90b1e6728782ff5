/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/log.h - messages to stderr or syslog
 *
 * One line per event, never per packet. Control thread only. Under systemd
 * (JOURNAL_STREAM names stderr) lines carry the <N> priority prefix of sd-daemon(3).
 */
#ifndef NFQB_LOG_H
#define NFQB_LOG_H

#include <stdbool.h>

#include "policy/config.h"

/* `debug`: everything, whatever the level is */
void log_open(bool to_syslog, bool debug, enum log_level level);
void log_set_level(enum log_level level);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
