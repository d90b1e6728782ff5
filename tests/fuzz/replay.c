/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/replay.c - feeds files to a fuzz target, where there is no libFuzzer
 */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

#define MAX_INPUT (1 << 20)

/* Each input in a block of exactly its length, so that a sanitizer sees its end */
static int replay(const char *path)
{
	static uint8_t input[MAX_INPUT];
	FILE *file = fopen(path, "rb");
	uint8_t *bytes;
	size_t len;

	if (!file) {
		perror(path);
		return -1;
	}
	len = fread(input, 1, sizeof(input), file);
	fclose(file);
	bytes = malloc(len ? len : 1);
	if (!bytes)
		return -1;
	for (size_t i = 0; i < len; i++)
		bytes[i] = input[i];
	LLVMFuzzerTestOneInput(bytes, len);
	free(bytes);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		if (replay(argv[i]))
			return 1;
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
