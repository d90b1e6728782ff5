/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic of the mark: NOTES.md "The mark", for several masks and by brute force */
#include "config_util.h"

static void default_mask(void **state)
{
	const uint32_t mask = 0xff00;

	(void)state;
	assert_int_equal(config_mark_shift(mask), 8);
	assert_int_equal(config_max_id(mask), 0x7d);
	assert_int_equal(config_mark_settled(mask), 0x8000);
	assert_int_equal(config_mark_link(mask, 1), 0x0100);
	assert_int_equal(config_mark_link(mask, 0x7d), 0x7d00);
	assert_int_equal(config_mark_main(mask), 0xff00);
	assert_int_equal(config_mark_reject(mask), 0xfe00);
	assert_int_equal(config_mark_id(mask, 0x0100), 1);
	assert_int_equal(config_mark_id(mask, 0x8100), 1);
	assert_int_equal(config_mark_id(mask, 0x40008105), 1);
	assert_int_equal(config_mark_id(mask, 0xfd00), 0x7d);
	assert_int_equal(config_mark_id(mask, 0x8000), 0);
	assert_int_equal(config_mark_id(mask, 0xfe00), 0);
	assert_int_equal(config_mark_id(mask, 0xff00), 0);
	assert_int_equal(config_mark_id(mask, 0x7f00), 0);
}

static void other_masks(void **state)
{
	(void)state;
	assert_int_equal(config_mark_settled(0x3f00), 0x2000);
	assert_int_equal(config_max_id(0x3f00), 29);
	assert_int_equal(config_mark_reject(0x3f00), 0x3e00);
	assert_int_equal(config_mark_shift(0xfe000000), 25);
	assert_int_equal(config_mark_settled(0xfe000000), 0x80000000);
	assert_int_equal(config_max_id(0xfe000000), 61);
	assert_int_equal(config_mark_link(0xfe000000, 61), UINT32_C(61) << 25);
	assert_int_equal(config_mark_reject(0xfe000000), 0xfc000000);
	assert_int_equal(config_max_id(UINT32_MAX), 0x7ffffffd);
	assert_int_equal(config_mark_id(UINT32_MAX, 0x80000005), 5);
}

/* The narrowest mask that has room for a link has three bits */
static void narrow_masks(void **state)
{
	(void)state;
	assert_int_equal(config_max_id(0), 0);
	assert_int_equal(config_max_id(0x100), 0);
	assert_int_equal(config_max_id(0x300), 0);
	assert_int_equal(config_max_id(0x700), 1);
	assert_int_equal(config_max_id(0x7), 1);
	assert_int_equal(config_mark_link(0x700, 1), 0x100);
	assert_int_equal(config_mark_reject(0x700), 0x600);
	assert_int_equal(config_mark_id(0x100, 0x100), 0);
	assert_int_equal(config_mark_id(0, 0xffffffff), 0);
}

/* Every value of a mask means one thing: nothing, waiting, one link twice, reject or main */
static void every_value(void **state)
{
	(void)state;
	for (unsigned width = 3; width <= 10; width++) {
		for (unsigned shift = 0; shift + width <= 32; shift++) {
			uint32_t mask = ((UINT32_C(1) << width) - 1) << shift;
			uint32_t settled = config_mark_settled(mask);
			unsigned seen[1024] = { 0 };

			for (uint32_t value = 0; value < UINT32_C(1) << width; value++)
				seen[config_mark_id(mask, (value << shift) | ~mask)]++;
			/* no link: 0, waiting, reject and main, and the two unsettled twins of the last */
			assert_int_equal(seen[0], 6);
			for (unsigned id = 1; id <= config_max_id(mask); id++) {
				assert_int_equal(seen[id], 2);
				assert_int_equal(config_mark_id(mask, config_mark_link(mask, id)), id);
				assert_int_equal(config_mark_id(mask, config_mark_link(mask, id) | settled), id);
				assert_int_equal(config_mark_link(mask, id) & settled, 0);
			}
			assert_int_equal(config_mark_id(mask, config_mark_main(mask)), 0);
			assert_int_equal(config_mark_id(mask, config_mark_reject(mask)), 0);
			assert_int_not_equal(config_mark_main(mask), config_mark_reject(mask));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_mask),
		cmocka_unit_test(other_masks),
		cmocka_unit_test(narrow_masks),
		cmocka_unit_test(every_value),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
