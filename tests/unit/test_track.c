/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_track.c - which flows are sending, event by event
 */
#include "tests/unit/fixture.h"

#include "policy/track.h"
#include "policy/track_class.h"

#define SECOND UINT64_C(1000000)
#define TCP 6
#define UDP 17

struct scene {
	struct load load;
	struct track *track;
	uint64_t now;
};

static struct scene *scene_new(uint32_t max)
{
	struct scene *scene = aligned_alloc(_Alignof(struct scene), sizeof(*scene));

	assert_non_null(scene);
	memset(scene, 0, sizeof(*scene));
	scene->load.workers = 1;
	scene->track = track_new(&scene->load, max);
	scene->now = 100 * SECOND;
	assert_non_null(scene->track);
	return scene;
}

static void scene_free(struct scene *scene)
{
	track_free(scene->track);
	free(scene);
}

static void decide_on(struct scene *scene, uint64_t key, unsigned link)
{
	load_add(&scene->load.steered[0], link, 1);
	track_decided(scene->track, key, link, scene->now);
}

static struct track_flow tcp(uint64_t key, unsigned link, enum track_phase phase)
{
	return (struct track_flow){ .key = key,
				    .id = (uint32_t)key + 1,
				    .phase = phase,
				    .dport = 443,
				    .link = (uint8_t)link,
				    .protocol = TCP };
}

static struct track_flow udp(uint64_t key, uint16_t dport, bool replied)
{
	return (struct track_flow){ .key = key,
				    .id = (uint32_t)key + 1,
				    .phase = TRACK_STATELESS,
				    .dport = dport,
				    .protocol = UDP,
				    .replied = replied };
}

static void change(struct scene *scene, struct track_flow flow)
{
	track_changed(scene->track, &flow, scene->now);
}

static void look(struct scene *scene, struct track_flow flow, uint32_t packets)
{
	flow.packets = packets;
	track_look(scene->track, &flow, scene->now);
}

static void end_after(struct scene *scene, struct track_flow flow, uint32_t sent, uint32_t answered, uint32_t active_ms)
{
	const struct track_end end = { { sent, answered }, active_ms };

	track_ended(scene->track, &flow, &end);
}

static void pass(struct scene *scene, uint64_t us)
{
	scene->now += us;
	track_advance(scene->track, scene->now);
}

static void expect(const struct scene *scene, unsigned link, uint32_t sending, uint32_t known)
{
	assert_int_equal(load_sending(&scene->load, link), sending);
	assert_int_equal(track_link(scene->track, link).known, known);
}

static void test_life_of_a_connection(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	decide_on(scene, 7, 1);
	expect(scene, 1, 1, 0);
	change(scene, tcp(7, 1, TRACK_OPENING));
	expect(scene, 1, 1, 1);
	scene->now += 25000;
	change(scene, tcp(7, 1, TRACK_ANSWERED));
	assert_int_equal(track_link(scene->track, 1).rtt_us, 25000);
	change(scene, tcp(7, 1, TRACK_OPEN));
	pass(scene, 3600 * SECOND);
	expect(scene, 1, 1, 1);
	change(scene, tcp(7, 1, TRACK_CLOSING));
	expect(scene, 1, 0, 1);
	change(scene, tcp(7, 1, TRACK_OPEN)); /* late news */
	expect(scene, 1, 0, 1);
	end_after(scene, tcp(7, 1, TRACK_CLOSING), 9, 9, UINT32_MAX);
	expect(scene, 1, 0, 0);
	assert_int_equal(track_totals(scene->track).matched, 1);
	assert_int_equal(track_totals(scene->track).foreign, 0);
	assert_int_equal(track_link(scene->track, 1).started, 1);
	scene_free(scene);
}

/* The handshake is averaged, and a SYN sent again is no handshake */
static void test_round_trip(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(1, 0, TRACK_OPENING));
	change(scene, tcp(2, 0, TRACK_OPENING));
	change(scene, tcp(3, 0, TRACK_OPENING));
	scene->now += 8000;
	change(scene, tcp(1, 0, TRACK_ANSWERED));
	scene->now += 8000;
	change(scene, tcp(2, 0, TRACK_ANSWERED));
	assert_int_equal(track_link(scene->track, 0).rtt_us, 9000);
	scene->now += SECOND;
	change(scene, tcp(3, 0, TRACK_ANSWERED));
	assert_int_equal(track_link(scene->track, 0).rtt_us, 9000);
	scene_free(scene);
}

/* The packet was dropped after its decision: no entry comes */
static void test_ghost(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	decide_on(scene, 7, 0);
	pass(scene, 1900000);
	expect(scene, 0, 1, 0);
	pass(scene, 200000);
	expect(scene, 0, 0, 0);
	assert_int_equal(track_totals(scene->track).ghosts, 1);
	/* late after all: taken as foreign, counted once */
	change(scene, tcp(7, 0, TRACK_OPENING));
	expect(scene, 0, 1, 1);
	scene_free(scene);
}

/* Fallback, inbound, or older than the daemon */
static void test_without_decision(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(7, 2, TRACK_OPENING));
	expect(scene, 2, 1, 1);
	change(scene, tcp(8, 2, TRACK_CLOSING));
	expect(scene, 2, 1, 2);
	end_after(scene, tcp(7, 2, TRACK_OPENING), 1, 0, UINT32_MAX);
	end_after(scene, tcp(9, 2, TRACK_OPEN), 1, 0, UINT32_MAX); /* never heard of */
	expect(scene, 2, 0, 1);
	assert_int_equal(track_totals(scene->track).foreign, 2);
	scene_free(scene);
}

static void blind(struct scene *scene, unsigned link, uint32_t n)
{
	load_add(&scene->load.steered[0], link, n);
	track_blind(scene->track, link, n, scene->now);
}

/* Nothing is known of them: two seconds each, no table */
static void test_blind(void **state)
{
	struct scene *scene = scene_new(1);

	(void)state;
	blind(scene, 1, 5);
	pass(scene, SECOND);
	blind(scene, 1, 3);
	blind(scene, 2, 7);
	expect(scene, 1, 8, 0);
	pass(scene, SECOND - 50000);
	expect(scene, 1, 8, 0);
	pass(scene, 50000);
	expect(scene, 1, 3, 0);
	expect(scene, 2, 7, 0);
	pass(scene, SECOND);
	expect(scene, 1, 0, 0);
	expect(scene, 2, 0, 0);
	assert_int_equal(track_totals(scene->track).ghosts, 15);
	assert_int_equal(track_totals(scene->track).stopped, 15);
	assert_int_equal(track_totals(scene->track).refused, 0);
	/* a turn without any, then a pause longer than the wheel: nobody is counted twice */
	pass(scene, 10 * SECOND);
	blind(scene, 1, 4);
	pass(scene, 3600 * SECOND);
	expect(scene, 1, 0, 0);
	assert_int_equal(track_totals(scene->track).ghosts, 19);
	scene_free(scene);
}

/* Events begin to tell: what they will tell again is counted no longer */
static void test_blind_no_more(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	blind(scene, 1, 5);
	pass(scene, SECOND);
	blind(scene, 2, 1);
	track_forget_blind(scene->track);
	expect(scene, 1, 0, 0);
	expect(scene, 2, 0, 0);
	change(scene, tcp(7, 2, TRACK_OPEN));
	expect(scene, 2, 1, 1);
	pass(scene, 10 * SECOND);
	expect(scene, 1, 0, 0);
	expect(scene, 2, 1, 1);
	scene_free(scene);
}

/* Decisions that did not fit the ring are taken back; their entries count for them */
static void test_forgotten(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	load_add(&scene->load.steered[0], 1, 3);
	track_forgotten(scene->track, 1, 3);
	expect(scene, 1, 0, 0);
	change(scene, tcp(7, 1, TRACK_OPEN));
	expect(scene, 1, 1, 1);
	scene_free(scene);
}

static void test_nobody_answers(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	decide_on(scene, 7, 0);
	change(scene, tcp(7, 0, TRACK_OPENING));
	pass(scene, 2900000);
	expect(scene, 0, 1, 1);
	pass(scene, 200000);
	expect(scene, 0, 0, 1);
	change(scene, tcp(7, 0, TRACK_ANSWERED));
	expect(scene, 0, 1, 1);
	pass(scene, 60 * SECOND);
	expect(scene, 0, 1, 1);
	scene_free(scene);
}

static void test_refused(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(7, 0, TRACK_OPENING));
	change(scene, tcp(7, 0, TRACK_CLOSING)); /* RST */
	expect(scene, 0, 0, 1);
	change(scene, tcp(7, 0, TRACK_ANSWERED)); /* late news */
	expect(scene, 0, 0, 1);
	scene_free(scene);
}

/* A more specific route won, or none of the links */
static void test_moved(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	decide_on(scene, 7, 0);
	change(scene, tcp(7, 1, TRACK_OPENING));
	expect(scene, 0, 0, 0);
	expect(scene, 1, 1, 1);
	change(scene, tcp(7, 2, TRACK_OPEN));
	expect(scene, 1, 0, 0);
	expect(scene, 2, 1, 1);
	track_foreign(scene->track, 7, 8);
	expect(scene, 2, 0, 0);
	decide_on(scene, 9, 0);
	track_foreign(scene->track, 9, 10);
	expect(scene, 0, 0, 0);
	scene_free(scene);
}

/* The same ports again while the kernel still knows the connection of before */
static void test_tuple_used_again(void **state)
{
	struct scene *scene = scene_new(10);
	struct track_flow second = tcp(7, 1, TRACK_OPENING);

	(void)state;
	second.id = 99;
	decide_on(scene, 7, 0);
	change(scene, tcp(7, 0, TRACK_OPEN));
	change(scene, tcp(7, 0, TRACK_CLOSING));
	decide_on(scene, 7, 1);
	end_after(scene, tcp(7, 0, TRACK_CLOSING), 5, 5, UINT32_MAX);
	expect(scene, 0, 0, 0);
	expect(scene, 1, 1, 0);
	change(scene, second);
	expect(scene, 1, 1, 1);
	assert_int_equal(track_totals(scene->track).matched, 2);
	scene_free(scene);
}

static void test_exchange(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, udp(1, 53, false));
	change(scene, udp(2, 4500, false));
	expect(scene, 0, 2, 2);
	change(scene, udp(1, 53, true));
	change(scene, udp(2, 4500, true));
	expect(scene, 0, 1, 2);
	pass(scene, 1900000);
	expect(scene, 0, 1, 2);
	pass(scene, 200000);
	expect(scene, 0, 0, 2);
	scene_free(scene);
}

/* What flows of a class have in common is learnt from those that ended */
static void test_learns_classes(void **state)
{
	struct scene *scene = scene_new(1000);

	(void)state;
	for (uint64_t i = 0; i < 50; i++) {
		end_after(scene, udp(i, 3478, true), 1, 1, 0);
		end_after(scene, udp(i, 443, true), 20, 30, 10000);
		end_after(scene, udp(i, 5353, true), 0, 0, 10000); /* not counted: nothing to learn */
	}
	change(scene, udp(101, 3478, false));
	change(scene, udp(101, 3478, true));
	expect(scene, 0, 0, 1);
	change(scene, udp(102, 443, true));
	pass(scene, 9 * SECOND);
	expect(scene, 0, 1, 2);
	pass(scene, 2 * SECOND);
	expect(scene, 0, 0, 2);
	change(scene, udp(103, 5353, true));
	expect(scene, 0, 1, 3);
	scene_free(scene);
}

static void test_classes(void **state)
{
	(void)state;
	assert_int_not_equal(track_class_of(UDP, 53), track_class_of(UDP, 54));
	assert_int_not_equal(track_class_of(UDP, 1023), track_class_of(UDP, 1024));
	assert_int_equal(track_class_of(UDP, 1024), track_class_of(UDP, 2047));
	assert_int_not_equal(track_class_of(UDP, 65535), track_class_of(0, 0));
	assert_int_equal(track_class_of(47, 1), track_class_of(47, 2));
	assert_in_range(track_class_of(255, 0), 0, TRACK_CLASSES - 1);
	assert_in_range(track_class_of(UDP, 65535), 1024, TRACK_CLASSES - 257);
}

/* Two looks, some seconds apart, and no packet between them */
static void test_idle(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(1, 0, TRACK_OPEN));
	change(scene, tcp(2, 0, TRACK_OPEN));
	track_look_begin(scene->track, true);
	look(scene, tcp(1, 0, TRACK_OPEN), 100);
	look(scene, tcp(2, 0, TRACK_OPEN), 100);
	track_look_end(scene->track);
	expect(scene, 0, 2, 2);
	track_look_begin(scene->track, true);
	look(scene, tcp(1, 0, TRACK_OPEN), 102); /* a keep-alive */
	look(scene, tcp(2, 0, TRACK_OPEN), 150);
	track_look_end(scene->track);
	expect(scene, 0, 1, 2);
	track_look_begin(scene->track, false); /* too soon after the last one to judge */
	look(scene, tcp(1, 0, TRACK_OPEN), 110);
	look(scene, tcp(2, 0, TRACK_OPEN), 150);
	track_look_end(scene->track);
	expect(scene, 0, 1, 2);
	track_look_begin(scene->track, true);
	look(scene, tcp(1, 0, TRACK_OPEN), 200);
	look(scene, tcp(2, 0, TRACK_OPEN), 150);
	track_look_end(scene->track);
	expect(scene, 0, 1, 2);
	assert_int_equal(track_totals(scene->track).idle, 2);
	scene_free(scene);
}

/* Without accounting nobody looks idle; the time since the last packet may still tell */
static void test_idle_without_counters(void **state)
{
	struct scene *scene = scene_new(10);
	struct track_flow quiet = tcp(1, 0, TRACK_OPEN);

	(void)state;
	quiet.quiet = true;
	change(scene, tcp(1, 0, TRACK_OPEN));
	change(scene, tcp(2, 0, TRACK_OPEN));
	for (int i = 0; i < 2; i++) {
		track_look_begin(scene->track, true);
		look(scene, quiet, 0);
		look(scene, tcp(2, 0, TRACK_OPEN), 0);
		track_look_end(scene->track);
	}
	expect(scene, 0, 1, 2);
	scene_free(scene);
}

/* A call, a tunnel: beyond the life of its class its packets tell */
static void test_outlives_its_class(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, udp(1, 4500, true));
	track_look_begin(scene->track, true);
	look(scene, udp(1, 4500, true), 10);
	track_look_end(scene->track);
	pass(scene, 5 * SECOND);
	expect(scene, 0, 0, 1);
	track_look_begin(scene->track, true);
	look(scene, udp(1, 4500, true), 300);
	track_look_end(scene->track);
	pass(scene, 5 * SECOND);
	expect(scene, 0, 1, 1);
	track_look_begin(scene->track, true);
	look(scene, udp(1, 4500, true), 300);
	track_look_end(scene->track);
	expect(scene, 0, 0, 1);
	scene_free(scene);
}

/* Events were lost: what a look shows is the truth */
static void test_look_mends(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(1, 0, TRACK_OPEN)); /* its end is lost */
	change(scene, tcp(2, 0, TRACK_OPEN)); /* its FIN is lost */
	decide_on(scene, 3, 0); /* its beginning is lost */
	change(scene, tcp(4, 0, TRACK_OPENING)); /* its answer is lost */
	pass(scene, SECOND);
	track_look_begin(scene->track, false);
	look(scene, tcp(2, 0, TRACK_CLOSING), 10);
	look(scene, tcp(3, 0, TRACK_OPEN), 10);
	look(scene, tcp(4, 0, TRACK_OPEN), 10);
	look(scene, tcp(5, 0, TRACK_OPEN), 10); /* everything of it is lost */
	change(scene, tcp(6, 0, TRACK_OPENING)); /* began meanwhile, behind the look */
	expect(scene, 0, 5, 6);
	track_look_end(scene->track);
	expect(scene, 0, 4, 5);
	assert_int_equal(track_totals(scene->track).swept, 1);
	assert_int_equal(track_totals(scene->track).matched, 1);
	pass(scene, 10 * SECOND);
	expect(scene, 0, 3, 5);
	scene_free(scene);
}

/* A look that is not finished takes nothing away */
static void test_look_unfinished(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	change(scene, tcp(1, 0, TRACK_OPEN));
	change(scene, tcp(2, 0, TRACK_OPEN));
	track_look_begin(scene->track, false);
	look(scene, tcp(1, 0, TRACK_OPEN), 1);
	track_look_begin(scene->track, false);
	look(scene, tcp(1, 0, TRACK_OPEN), 1);
	look(scene, tcp(2, 0, TRACK_OPEN), 1);
	track_look_end(scene->track);
	expect(scene, 0, 2, 2);
	scene_free(scene);
}

static void test_full(void **state)
{
	struct scene *scene = scene_new(2);

	(void)state;
	for (uint64_t i = 1; i <= 4; i++)
		decide_on(scene, i, 0);
	expect(scene, 0, 2, 0);
	for (uint64_t i = 1; i <= 4; i++)
		change(scene, tcp(i, 0, TRACK_OPEN));
	expect(scene, 0, 2, 2);
	assert_int_equal(track_totals(scene->track).refused, 4);
	end_after(scene, tcp(2, 0, TRACK_OPEN), 1, 1, UINT32_MAX);
	decide_on(scene, 5, 0);
	expect(scene, 0, 2, 1);
	change(scene, tcp(5, 0, TRACK_OPEN));
	expect(scene, 0, 2, 2);
	scene_free(scene);
}

/* The daemon was stopped for longer than the wheel is round */
static void test_long_stop(void **state)
{
	struct scene *scene = scene_new(10);

	(void)state;
	pass(scene, SECOND);
	decide_on(scene, 1, 0);
	pass(scene, 1000 * SECOND);
	expect(scene, 0, 0, 0);
	decide_on(scene, 2, 0);
	pass(scene, 1900000);
	expect(scene, 0, 1, 0);
	pass(scene, 200000);
	expect(scene, 0, 0, 0);
	scene_free(scene);
}

/* The machine runs for two years before the daemon is started; an event is heard when what it begins is over */
static void test_clock(void **state)
{
	struct scene *scene = scene_new(10);
	const struct track_flow flow = tcp(7, 1, TRACK_OPENING);

	(void)state;
	scene->now = UINT64_C(900) * 24 * 3600 * SECOND;
	decide_on(scene, 6, 1);
	expect(scene, 1, 1, 0);
	pass(scene, 3 * SECOND);
	expect(scene, 1, 0, 0);
	track_changed(scene->track, &flow, scene->now - 10 * SECOND);
	expect(scene, 1, 1, 1);
	pass(scene, SECOND);
	expect(scene, 1, 0, 1);
	scene_free(scene);
}

static void test_memory(void **state)
{
	struct scene *scene = scene_new(UINT32_C(1) << 20);

	(void)state;
	for (uint64_t i = 0; i < 100000; i++)
		change(scene, tcp(i * 0x9e3779b97f4a7c15, 0, TRACK_OPEN));
	expect(scene, 0, 100000, 100000);
	assert_in_range(track_memory(scene->track), 100000, 16 << 20);
	scene_free(scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life_of_a_connection),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_ghost),
		cmocka_unit_test(test_without_decision),
		cmocka_unit_test(test_blind),
		cmocka_unit_test(test_blind_no_more),
		cmocka_unit_test(test_forgotten),
		cmocka_unit_test(test_nobody_answers),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_tuple_used_again),
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_learns_classes),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_idle_without_counters),
		cmocka_unit_test(test_outlives_its_class),
		cmocka_unit_test(test_look_mends),
		cmocka_unit_test(test_look_unfinished),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_long_stop),
		cmocka_unit_test(test_clock),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
