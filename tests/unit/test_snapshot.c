/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_snapshot.c - which interfaces exist, as rules that name them see it
 *
 * Includes the module and stands in for conntrack/mark.c and the kernel's list.
 */
#include "tests/unit/fixture.h"

#include "nfq-balancer/snapshot.c"

bool conntrack_mark_attr(struct conntrack_mark_attr *out, uint32_t mark, uint32_t mask)
{
	(void)out;
	(void)mark;
	(void)mask;
	return true;
}

static struct if_nameindex *existing; /* what the kernel would say */

struct if_nameindex *if_nameindex(void)
{
	return existing;
}

void if_freenameindex(struct if_nameindex *ptr)
{
	(void)ptr;
}

/* A snapshot whose rules name interfaces "i0", "i1", ..., of which `all` exist */
static struct snapshot *snapshot_of(unsigned names, struct if_nameindex *all)
{
	struct config *config = fixture_balanced(STICKY_NONE);

	for (unsigned i = 0; i < names; i++) {
		char name[16];

		snprintf(name, sizeof(name), "i%u", i);
		fixture_append(config->ifaces, config->n_ifaces, strdup(name));
	}
	existing = all;
	return snapshot_new(policy_compile(config));
}

static void an_interface_comes_and_goes(void **state)
{
	struct if_nameindex none[] = { { 0, NULL } };
	struct snapshot *snapshot = snapshot_of(3, none);

	(void)state;
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 0);
	snapshot_set_iface(snapshot, 7, "i1");
	snapshot_set_iface(snapshot, 8, "other");
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 2);
	assert_int_equal(snapshot_iface_slot(snapshot, 8), 0);
	snapshot_set_iface(snapshot, 7, "i2"); /* another name */
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 3);
	snapshot_set_iface(snapshot, 7, NULL);
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 0);
	snapshot_free(snapshot);
}

/* A worker may look between any two stores: what is known stays where it is */
static void what_is_told_again_does_not_move(void **state)
{
	struct if_nameindex none[] = { { 0, NULL } };
	struct snapshot *snapshot = snapshot_of(2, none);

	(void)state;
	snapshot_set_iface(snapshot, 7, "i0");
	snapshot_set_iface(snapshot, 8, "i1");
	snapshot_set_iface(snapshot, 7, NULL);
	const uint64_t before = snapshot->iface[1];

	snapshot_set_iface(snapshot, 8, "i1");
	assert_int_equal(snapshot->iface[1], before);
	assert_int_equal(snapshot->iface[0], 0);
	snapshot_free(snapshot);
}

static void all_that_rules_can_name_have_room(void **state)
{
	static char names[CONFIG_MAX_IFACES][16];
	static struct if_nameindex all[CONFIG_MAX_IFACES + 1];

	(void)state;
	for (unsigned i = 0; i < CONFIG_MAX_IFACES; i++) {
		snprintf(names[i], sizeof(names[i]), "i%u", i);
		all[i] = (struct if_nameindex){ i + 1, names[i] };
	}
	struct snapshot *snapshot = snapshot_of(CONFIG_MAX_IFACES, all);

	for (unsigned i = 0; i < CONFIG_MAX_IFACES; i++)
		assert_int_equal(snapshot_iface_slot(snapshot, i + 1), i + 1);
	snapshot_free(snapshot);
}

static void a_scan_forgets_what_is_gone(void **state)
{
	char first[] = "i0", second[] = "i1";
	struct if_nameindex before[] = { { 7, first }, { 8, second }, { 0, NULL } };
	struct if_nameindex after[] = { { 9, first }, { 8, second }, { 0, NULL } };
	struct snapshot *snapshot = snapshot_of(2, before);

	(void)state;
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 1);
	existing = after;
	snapshot_scan_ifaces(snapshot);
	assert_int_equal(snapshot_iface_slot(snapshot, 7), 0);
	assert_int_equal(snapshot_iface_slot(snapshot, 8), 2);
	assert_int_equal(snapshot_iface_slot(snapshot, 9), 1);
	snapshot_free(snapshot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_interface_comes_and_goes),
		cmocka_unit_test(what_is_told_again_does_not_move),
		cmocka_unit_test(all_that_rules_can_name_have_room),
		cmocka_unit_test(a_scan_forgets_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
