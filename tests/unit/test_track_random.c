/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/unit/test_track_random.c - counts of sending flows do not drift, whatever happens
 *
 * A small kernel: connections begin, change and end in any order, some without a
 * decision, some decisions without a connection, some on another link than decided; its
 * events wait in a queue, and some are lost. Now and then everything is heard, and where
 * events were lost the whole table is looked at; then each link's counts must be those
 * of the kernel. At the end every connection has ended and nothing may be left.
 */
#include "tests/unit/fixture.h"

#include "policy/track.h"

#define LINKS 4
#define FLOWS 300
#define QUEUE 4096
#define STEPS 3000
#define SECOND UINT64_C(1000000)

enum life {
	NONE,
	SYN,
	ANSWERED,
	OPEN,
	CLOSED,
	DATAGRAMS
};

struct connection {
	enum life life;
	uint64_t key;
	uint32_t id;
	unsigned link;
	bool replied;
};

struct message {
	bool end;
	struct track_flow flow;
};

struct kernel {
	uint64_t random;
	struct load load;
	struct track *track;
	uint64_t now;
	uint32_t next_id;
	struct connection flows[FLOWS];
	struct message queue[QUEUE];
	unsigned n_queue;
	bool lost;
	unsigned loss; /* one in so many; 0: none */
};

static struct track_flow describe(const struct connection *c)
{
	static const enum track_phase phases[] = {
		[SYN] = TRACK_OPENING,	  [ANSWERED] = TRACK_ANSWERED,	 [OPEN] = TRACK_OPEN,
		[CLOSED] = TRACK_CLOSING, [DATAGRAMS] = TRACK_STATELESS,
	};

	return (struct track_flow){
		.key = c->key,
		.id = c->id,
		.phase = phases[c->life],
		.dport = 4500,
		.link = (uint8_t)c->link,
		.protocol = c->life == DATAGRAMS ? 17 : 6,
		.replied = c->replied,
	};
}

static void emit(struct kernel *k, const struct connection *c, bool end)
{
	if (k->n_queue == QUEUE || (k->loss && !fixture_below(&k->random, k->loss))) {
		k->lost = true;
		return;
	}
	k->queue[k->n_queue++] = (struct message){ end, describe(c) };
}

static void hear(struct kernel *k, unsigned n)
{
	static const struct track_end end = { { 5, 5 }, UINT32_MAX };

	if (n > k->n_queue)
		n = k->n_queue;
	for (unsigned i = 0; i < n; i++) {
		if (k->queue[i].end)
			track_ended(k->track, &k->queue[i].flow, &end);
		else
			track_changed(k->track, &k->queue[i].flow, k->now);
	}
	k->n_queue -= n;
	memmove(k->queue, k->queue + n, k->n_queue * sizeof(k->queue[0]));
}

static void look(struct kernel *k)
{
	track_look_begin(k->track, false);
	for (unsigned i = 0; i < FLOWS; i++) {
		const struct track_flow flow = describe(&k->flows[i]);

		if (k->flows[i].life != NONE)
			track_look(k->track, &flow, k->now);
	}
	track_look_end(k->track);
}

/* ---- what may happen ---- */

static void decided(struct kernel *k, uint64_t key, unsigned link)
{
	load_add(&k->load.steered[0], link, 1);
	if (fixture_below(&k->random, 20))
		track_decided(k->track, key, link, k->now);
	else
		track_forgotten(k->track, link, 1); /* the ring was full */
}

static void begin(struct kernel *k, struct connection *c)
{
	const bool again = c->key && !fixture_below(&k->random, 3); /* the tuple of before */
	const unsigned link = fixture_below(&k->random, LINKS), kind = fixture_below(&k->random, 10);

	*c = (struct connection){
		.life = fixture_below(&k->random, 3) ? SYN : DATAGRAMS,
		.key = again ? c->key : fixture_random(&k->random),
		.id = ++k->next_id,
		.link = kind == 9 ? fixture_below(&k->random, LINKS) : link,
	};
	if (kind)
		decided(k, c->key, link);
	if (kind == 1)
		c->life = NONE; /* dropped later: a ghost */
	else
		emit(k, c, false);
}

static void proceed(struct kernel *k, struct connection *c)
{
	switch (c->life) {
	case SYN:
		c->life = ANSWERED;
		break;
	case ANSWERED:
		c->life = OPEN;
		break;
	case OPEN:
		c->life = CLOSED;
		break;
	case DATAGRAMS:
		c->replied = true;
		break;
	case NONE:
	case CLOSED:
		return;
	}
	emit(k, c, false);
}

static void end(struct kernel *k, struct connection *c)
{
	if (c->life == NONE)
		return;
	emit(k, c, true);
	c->life = NONE;
}

static void step(struct kernel *k)
{
	struct connection *c = &k->flows[fixture_below(&k->random, FLOWS)];

	switch (fixture_below(&k->random, 12)) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (c->life == NONE)
			begin(k, c);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		proceed(k, c);
		break;
	case 8:
		end(k, c);
		break;
	case 9:
		hear(k, fixture_below(&k->random, 50));
		break;
	case 10:
		k->now += fixture_below(&k->random, SECOND / 2);
		track_advance(k->track, k->now);
		break;
	default:
		/* also at moments that are none to look, with events waiting */
		if (!fixture_below(&k->random, 20))
			look(k);
		break;
	}
}

/* ---- what must be ---- */

static void settle(struct kernel *k)
{
	/* in this order: an event from before a lost one must not be heard after the look */
	hear(k, QUEUE);
	if (k->lost)
		look(k);
	k->lost = false;
	/* past every lifetime: of decisions, of SYNs, of datagrams */
	k->now += 10 * SECOND;
	track_advance(k->track, k->now);
}

static void check(const struct kernel *k)
{
	unsigned known[LINKS] = { 0 }, sending[LINKS] = { 0 };

	for (unsigned i = 0; i < FLOWS; i++) {
		const struct connection *c = &k->flows[i];

		known[c->link] += c->life != NONE;
		sending[c->link] += c->life == ANSWERED || c->life == OPEN;
	}
	for (unsigned i = 0; i < LINKS; i++) {
		assert_int_equal(track_link(k->track, i).known, known[i]);
		assert_int_equal(load_sending(&k->load, i), sending[i]);
	}
}

/* No more was taken away than was counted: the difference behind load_sending() */
static void check_signs(const struct kernel *k)
{
	for (unsigned i = 0; i < LINKS; i++)
		assert_true((int32_t)(k->load.steered[0].flows[i] + k->load.followed.flows[i]) >= 0);
}

static void run(struct kernel *k, uint64_t seed, unsigned loss)
{
	memset(k, 0, sizeof(*k));
	k->random = seed;
	k->loss = loss;
	k->load.workers = 1;
	k->track = track_new(&k->load, 4 * FLOWS);
	assert_non_null(k->track);
	k->now = 50 * SECOND;
	for (unsigned i = 0; i < STEPS; i++) {
		step(k);
		check_signs(k);
		if (i % 500 == 499) {
			settle(k);
			check(k);
		}
	}
	for (unsigned i = 0; i < FLOWS; i++)
		end(k, &k->flows[i]);
	settle(k);
	check(k);
	track_free(k->track);
}

static void test_counts_do_not_drift(void **state)
{
	static const unsigned losses[] = { 0, 0, 100, 10, 2 };
	struct kernel *k = aligned_alloc(_Alignof(struct kernel), sizeof(*k));
	uint64_t random = fixture_seed();

	(void)state;
	assert_non_null(k);
	for (unsigned i = 0; i < 100; i++)
		run(k, fixture_random(&random), losses[i % 5]);
	free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts_do_not_drift) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
