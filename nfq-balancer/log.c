/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/log.c - one write per line, to stderr or syslog
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "nfq-balancer/log.h"

#define LINE_MAX_BYTES 1024

static struct {
	bool to_syslog;
	bool debug;
	bool journal; /* prefix lines with their priority, sd-daemon(3) */
	enum log_level level;
} out = { .level = LOG_LEVEL_INFO };

/* Is standard error the journal's stream? systemd.exec(5): JOURNAL_STREAM is device:inode, and
 * is inherited by shells whose standard error is something else */
static bool journal_reads_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat stderr_stat;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &stderr_stat) == 0 &&
	       stderr_stat.st_dev == device && stderr_stat.st_ino == inode;
}

void log_open(bool to_syslog, bool debug, enum log_level level)
{
	out.to_syslog = to_syslog;
	out.debug = debug;
	out.journal = journal_reads_stderr();
	out.level = level;
	if (to_syslog)
		openlog("nfq-balancer", LOG_PID, LOG_DAEMON);
}

void log_set_level(enum log_level level)
{
	out.level = level;
}

static int priority(enum log_level level)
{
	static const int priorities[] = {
		[LOG_LEVEL_ERROR] = LOG_ERR,
		[LOG_LEVEL_WARNING] = LOG_WARNING,
		[LOG_LEVEL_INFO] = LOG_INFO,
		[LOG_LEVEL_DEBUG] = LOG_DEBUG,
	};

	return priorities[level];
}

static __attribute__((format(printf, 2, 0))) void emit(enum log_level level, const char *format, va_list arguments)
{
	char line[LINE_MAX_BYTES];

	if (level > out.level && !out.debug)
		return;
	if (out.to_syslog) {
		vsyslog(priority(level), format, arguments);
		return;
	}
	int used = out.journal ? snprintf(line, sizeof(line), "<%d>", priority(level))
			       : snprintf(line, sizeof(line), "nfq-balancer: ");
	int more = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, arguments);

	used += more < 0 ? 0 : more;
	if (used > LINE_MAX_BYTES - 2)
		used = LINE_MAX_BYTES - 2;
	line[used] = '\n';
	/* nobody to tell if stderr is gone */
	if (write(STDERR_FILENO, line, (size_t)used + 1) < 0)
		return;
}

#define LOG_FUNCTION(name, level)               \
	void name(const char *format, ...)      \
	{                                       \
		va_list arguments;              \
		va_start(arguments, format);    \
		emit(level, format, arguments); \
		va_end(arguments);              \
	}

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)
