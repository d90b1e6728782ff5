/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/fuzz/fuzz.h - what all fuzz targets have
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The target: called with each input. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* What must hold whatever the input is: a crash is how a fuzzer hears of it */
static inline void expect(bool condition)
{
	if (!condition)
		abort();
}

#endif
