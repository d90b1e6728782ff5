/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/privileges.c - capabilities through libcap-ng
 */
#include <cap-ng.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nfq-balancer/privileges.h"

bool privileges_sufficient(char *error, size_t size)
{
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_NET_ADMIN))
		return true;
	snprintf(error, size, "no permission to configure the network: start as root, or with CAP_NET_ADMIN");
	return false;
}

static const struct passwd *find_user(const char *user, char *error, size_t size)
{
	const struct passwd *entry = getpwnam(user);

	if (!entry)
		snprintf(error, size,
			 "service user \"%s\" does not exist: create it (systemd-sysusers, adduser --system), or name "
			 "another with user = in the configuration",
			 user);
	return entry;
}

static bool make_directory(const char *path, mode_t mode, char *error, size_t size)
{
	/* not what the umask leaves: the service user has to read rules.state in the run directory */
	if (mkdir(path, mode) == 0 ? chmod(path, mode) == 0 : errno == EEXIST)
		return true;
	snprintf(error, size, "%s: cannot make the directory: %s", path, strerror(errno));
	return false;
}

bool privileges_directories(const char *user, const char *run, const char *state, char *error, size_t size)
{
	/* the run directory stays root's: the rules script trusts what stands in rules.state */
	if (!make_directory(run, 0755, error, size) || !make_directory(state, 0750, error, size))
		return false;
	if (geteuid() != 0)
		return true;
	const struct passwd *entry = find_user(user, error, size);

	if (!entry)
		return false;
	if (chown(state, entry->pw_uid, entry->pw_gid) == 0)
		return true;
	snprintf(error, size, "%s: cannot give the directory to %s: %s", state, user, strerror(errno));
	return false;
}

static bool become(const char *user, char *error, size_t size)
{
	const struct passwd *entry = find_user(user, error, size);

	if (!entry)
		return false;
	int failed =
		capng_change_id((int)entry->pw_uid, (int)entry->pw_gid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);

	if (failed)
		snprintf(error, size, "cannot become user %s (libcap-ng: %d)", user, failed);
	return failed == 0;
}

bool privileges_drop(const char *user, char *error, size_t size)
{
	capng_clear(CAPNG_SELECT_BOTH);
	capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_NET_ADMIN);
	if (geteuid() == 0) {
		if (!become(user, error, size))
			return false;
	} else if (capng_apply(CAPNG_SELECT_CAPS) != 0) {
		snprintf(error, size, "cannot drop capabilities: %s", strerror(errno));
		return false;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		return true;
	snprintf(error, size, "cannot set no_new_privs: %s", strerror(errno));
	return false;
}
