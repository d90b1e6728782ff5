/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/overrides.c - values set at runtime: kept over reloads, saved over restarts
 *
 * A value set at runtime holds until the configuration's own value changes: whoever
 * edits the file later means it. A reload compares the file before with the file
 * after; runtime.conf therefore remembers beside each value what the file said then:
 *
 *     link "virtua" { weight = 5 file-weight = 2 }
 *     link "embratel" { state = "drain" }
 *     group "balanced" { scheduler = "hash" file-scheduler = "wrr" }
 */
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nfq-balancer/daemon.h"
#include "nfq-balancer/log.h"

static bool weight_differs(const struct daemon *daemon, const struct config *config, size_t link)
{
	return link_runtime_weight(&daemon->runtime, (unsigned)link) != config->links[link].weight;
}

static bool scheduler_differs(const struct daemon *daemon, const struct group_config *group)
{
	return link_runtime_scheduler(&daemon->runtime, group->slot) != group->scheduler;
}

bool overrides_differ(const struct daemon *daemon)
{
	const struct config *config = policy_config(daemon->policy);

	for (size_t i = 0; i < config->n_links; i++) {
		if (weight_differs(daemon, config, i) || daemon->links.status[i].admin != LINK_ADMIN_AUTO)
			return true;
	}
	for (size_t i = 0; i < config->n_groups; i++) {
		if (scheduler_differs(daemon, &config->groups[i]))
			return true;
	}
	return false;
}

void overrides_inherit(struct daemon *daemon, const struct config *before, const struct config *after)
{
	/* nothing at runtime changes capacities: the file's count */
	link_runtime_set_capacities(&daemon->runtime, after);
	daemon->links.generation++;
	for (size_t i = 0; i < after->n_links; i++) {
		int old = config_link_by_name(before, after->links[i].name);

		if (old < 0 || before->links[old].weight != after->links[i].weight)
			links_set_weight(&daemon->links, (unsigned)i, after->links[i].weight);
	}
	for (size_t i = 0; i < after->n_groups; i++) {
		const struct group_config *group = &after->groups[i];
		int old = config_group_by_name(before, group->name);

		if (old < 0 || before->groups[old].scheduler != group->scheduler)
			link_runtime_set_scheduler(&daemon->runtime, group->slot, group->scheduler);
	}
}

/* ---- save ---- */

static void write_values(const struct daemon *daemon, FILE *out)
{
	const struct config *config = policy_config(daemon->policy);

	fputs("# Written by `nfqbctl save`: values that differ from the configuration file.\n"
	      "# A value counts only while the file still says what it said then (file-...).\n",
	      out);
	for (size_t i = 0; i < config->n_links; i++) {
		enum link_admin admin = daemon->links.status[i].admin;
		bool weight = weight_differs(daemon, config, i);

		if (!weight && admin == LINK_ADMIN_AUTO)
			continue;
		fprintf(out, "link \"%s\" {", config->links[i].name);
		if (weight)
			fprintf(out, " weight = %u file-weight = %u",
				link_runtime_weight(&daemon->runtime, (unsigned)i), config->links[i].weight);
		if (admin != LINK_ADMIN_AUTO)
			fprintf(out, " state = \"%s\"", link_admin_name(admin));
		fputs(" }\n", out);
	}
	for (size_t i = 0; i < config->n_groups; i++) {
		const struct group_config *group = &config->groups[i];

		if (scheduler_differs(daemon, group))
			fprintf(out, "group \"%s\" { scheduler = \"%s\" file-scheduler = \"%s\" }\n", group->name,
				scheduler_name(link_runtime_scheduler(&daemon->runtime, group->slot)),
				scheduler_name(group->scheduler));
	}
}

static bool fail_at(char *error, size_t size, const char *path, const char *what)
{
	snprintf(error, size, "%s: %s: %s", path, what, strerror(errno));
	return false;
}

/* The whole file under another name, on disk, then one rename: never half a file */
bool overrides_save(const struct daemon *daemon, char *error, size_t size)
{
	const char *directory = policy_config(daemon->policy)->state_directory;
	char path[4096], draft[4096 + 8];
	FILE *out;
	bool written;
	int fd;

	snprintf(path, sizeof(path), "%s/runtime.conf", directory);
	snprintf(draft, sizeof(draft), "%s.new", path);
	fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return fail_at(error, size, draft, "cannot create");
	out = fdopen(fd, "w");
	if (!out) {
		close(fd);
		return fail_at(error, size, draft, "cannot write");
	}
	write_values(daemon, out);
	/* not what the umask left: the group may read */
	written = fchmod(fd, 0640) == 0 && fflush(out) == 0 && fsync(fd) == 0;
	if (fclose(out) == 0 && written && rename(draft, path) == 0)
		return true;
	fail_at(error, size, path, "cannot write");
	unlink(draft);
	return false;
}

/* ---- load ---- */

static void apply_link(struct daemon *daemon, cfg_t *section)
{
	const struct config *config = policy_config(daemon->policy);
	const char *name = cfg_title(section), *state = cfg_getstr(section, "state");
	long weight = cfg_getint(section, "weight");
	int link = config_link_by_name(config, name);
	int admin = state ? link_admin_parse(state) : -1;

	if (link < 0) {
		log_info("runtime.conf: link %s is no longer in the configuration", name);
		return;
	}
	if (weight >= 1 && weight <= CONFIG_MAX_WEIGHT) {
		if ((long)config->links[link].weight == cfg_getint(section, "file-weight"))
			links_set_weight(&daemon->links, (unsigned)link, (uint32_t)weight);
		else
			log_info("runtime.conf: weight of link %s: the configuration changed since, it wins", name);
	}
	if (admin >= 0)
		links_set_admin(&daemon->links, (unsigned)link, (enum link_admin)admin);
}

static void apply_group(struct daemon *daemon, cfg_t *section)
{
	const struct config *config = policy_config(daemon->policy);
	const char *name = cfg_title(section);
	const char *now = cfg_getstr(section, "scheduler"), *then = cfg_getstr(section, "file-scheduler");
	int group = config_group_by_name(config, name);
	int scheduler = now ? scheduler_parse(now) : -1;

	if (group < 0) {
		log_info("runtime.conf: group %s is no longer in the configuration", name);
		return;
	}
	if (scheduler < 0 || !then)
		return;
	if (scheduler_parse(then) == (int)config->groups[group].scheduler)
		link_runtime_set_scheduler(&daemon->runtime, config->groups[group].slot, (enum scheduler)scheduler);
	else
		log_info("runtime.conf: scheduler of group %s: the configuration changed since, it wins", name);
}

/* libconfuse reports to a function without a data pointer: the last message is kept here */
static char parse_error[160];

__attribute__((format(printf, 2, 0))) static void keep_error(cfg_t *cfg, const char *format, va_list args)
{
	int used = snprintf(parse_error, sizeof(parse_error), "line %d: ", cfg ? cfg->line : 0);

	vsnprintf(parse_error + used, sizeof(parse_error) - (size_t)used, format, args);
}

static int parse(const char *path, cfg_t *cfg, char *error, size_t size)
{
	int result;

	cfg_set_error_function(cfg, keep_error);
	parse_error[0] = '\0';
	errno = 0;
	result = cfg_parse(cfg, path);
	if (result == CFG_FILE_ERROR && errno != ENOENT)
		fail_at(error, size, path, "cannot read");
	else if (result == CFG_PARSE_ERROR)
		snprintf(error, size, "%s: %s; mend or remove it", path, parse_error);
	else
		return 0;
	return -1;
}

bool overrides_load(struct daemon *daemon, char *error, size_t size)
{
	cfg_opt_t link[] = { CFG_INT("weight", 0, CFGF_NONE), CFG_INT("file-weight", 0, CFGF_NONE),
			     CFG_STR("state", NULL, CFGF_NONE), CFG_END() };
	cfg_opt_t group[] = { CFG_STR("scheduler", NULL, CFGF_NONE), CFG_STR("file-scheduler", NULL, CFGF_NONE),
			      CFG_END() };
	cfg_opt_t top[] = { CFG_SEC("link", link, CFGF_TITLE | CFGF_MULTI),
			    CFG_SEC("group", group, CFGF_TITLE | CFGF_MULTI), CFG_END() };
	cfg_t *cfg = cfg_init(top, CFGF_NONE);
	char path[4096];
	bool good;

	if (!cfg) {
		snprintf(error, size, "out of memory");
		return false;
	}
	snprintf(path, sizeof(path), "%s/runtime.conf", policy_config(daemon->policy)->state_directory);
	good = parse(path, cfg, error, size) == 0;
	for (unsigned i = 0; good && i < cfg_size(cfg, "link"); i++)
		apply_link(daemon, cfg_getnsec(cfg, "link", i));
	for (unsigned i = 0; good && i < cfg_size(cfg, "group"); i++)
		apply_group(daemon, cfg_getnsec(cfg, "group", i));
	cfg_free(cfg);
	return good;
}
