/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/fuzz_config.c - any bytes as a configuration file
 *
 * Refused with a message, or good enough to be printed, hashed and taken over by itself.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy/config_file.h"
#include "policy/config_print.h"
#include "tests/fuzz/fuzz.h"

static void use(struct config *config)
{
	struct config_messages errors = { 0 };
	FILE *out = fopen("/dev/null", "w");

	expect(config->n_links > 0 && config->n_links <= CONFIG_MAX_LINKS);
	expect(config->n_rules > 0 && config->n_groups <= CONFIG_MAX_GROUPS);
	for (size_t i = 0; i < config->n_links; i++) {
		expect(config->links[i].id > 0 && config->links[i].id <= config_max_id(config->mask));
		expect(i == 0 || config->links[i].id > config->links[i - 1].id);
	}
	expect(rule_matches_all(&config->rules[config->n_rules - 1]));
	expect(out != NULL);
	config_print(out, config);
	config_print_rules(out, config);
	fclose(out);
	expect(config_inherit(config, config, &errors));
	config_messages_free(&errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct config_messages errors = { 0 }, warnings = { 0 };
	int fd = memfd_create("nfq-balancer.conf", MFD_CLOEXEC);
	struct config *config;
	char path[32];

	expect(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	config = config_load(path, &errors, &warnings);
	expect((config == NULL) == (errors.n > 0));
	if (config != NULL)
		use(config);
	config_free(config);
	config_messages_free(&errors);
	config_messages_free(&warnings);
	close(fd);
	return 0;
}
