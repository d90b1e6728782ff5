/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/config_file.h - a configuration file -> struct config
 *
 * The grammar is libconfuse's; the file's own words are in
 * man/nfq-balancer.conf.5. Reads files and /etc/services, writes nothing,
 * logs nothing: what is wrong comes back as text. Not part of the decision
 * path. Not thread-safe (libconfuse, getservbyname): control thread only.
 */
#ifndef POLICY_CONFIG_FILE_H
#define POLICY_CONFIG_FILE_H

#include "policy/config.h"

/* A growing list of messages, one line each, "FILE:LINE: what is wrong (value), what was expected" */
struct config_messages {
	char **text;
	size_t n;
};

void config_messages_free(struct config_messages *messages);
/* Append one message; false when memory is short */
bool messages_add(struct config_messages *messages, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Read, check and complete (defaults) a configuration. Returns it, or NULL with
 * at least one message in `errors`: the first syntax error alone, or every wrong
 * value and reference. `warnings` holds what is odd but allowed; both must be
 * zeroed by the caller and freed with config_messages_free(). */
struct config *config_load(const char *path, struct config_messages *errors, struct config_messages *warnings);

/* What config.checksum would be of the files as they are now; 0 when one cannot be read */
uint64_t config_files_checksum(const struct config *config);

/* The first of its files that this process cannot read now, and why; NULL when it can read all */
const char *config_files_unreadable(const struct config *config, const char **why);

/* May `next` replace `running` without a restart of daemon and rules? Mask, queues, the links with
 * their ids, interfaces and tables, sticky-entries, user, socket and directories may not. Appends one message for
 * each difference that forbids it and returns false; otherwise gives groups the
 * slots of their namesakes and returns true. */
bool config_inherit(struct config *next, const struct config *running, struct config_messages *errors);

#endif
