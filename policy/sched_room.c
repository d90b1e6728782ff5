/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/sched_room.c - which links have room, for spillover and latency
 *
 * Theory of operation. Traffic is measured about once a second; until the next
 * sample, every new flow would see the same figures and go the same way. So a
 * link's traffic is its last sample, corrected by the flows that have begun or
 * stopped since: each is taken for an average one of those that made the sample,
 * and a new one for no less than a BURST-th of what the link may fill, as it may turn
 * out a large one. Short flows that came and went cancel out.
 * Thus a burst between two samples puts at most BURST flows on a link, and one for
 * each other worker, before it counts as loaded and the next one is taken.
 *
 * Traffic grows with the number of flows. So each sample, with the group's threshold, makes a number of flows
 * up to which the link has room, and a decision compares only counts that have changed.
 *
 * A link that states no capacity is never loaded.
 */
#include "policy/sched_private.h"

#define BURST 100 /* so many new flows fill a link, until the next sample tells */
#define BITS_MAX (UINT64_C(1) << 50) /* a counter gone wild must not overflow */

/* So many flows, at most, may be sending while the traffic is below `full`, in bit/s; -1: not even none */
static int64_t most_flows(const struct link_measured *measured, uint64_t full)
{
	const uint64_t bits = measured->bits_down > BITS_MAX ? BITS_MAX : measured->bits_down;
	const uint64_t each = measured->sending ? bits / measured->sending : 0;
	const uint64_t least = (full + BURST - 1) / BURST;
	const uint64_t added = each > least ? each : least;

	if (bits < full) /* so many more, and it is full */
		return (int64_t)measured->sending + (int64_t)((full - bits + added - 1) / added) - 1;
	/* so many less, and it is no more */
	return each ? (int64_t)measured->sending - (int64_t)((bits - full) / each) - 1 : -1;
}

static uint32_t most_flows_of(const struct sched_input *input, unsigned link)
{
	const uint64_t capacity = link_runtime_capacity(input->runtime, link);
	const struct link_measured measured = link_runtime_measured(input->runtime, link);
	int64_t most;

	if (!capacity)
		return UINT32_MAX;
	most = most_flows(&measured, capacity * (CAPACITY_UNIT / 100) * input->group->spill_at);
	return most < 0 ? 0 : (uint32_t)most + 1; /* the new one is counted, too */
}

/* ---- orders ---- */

/* These links by key, and of the same key by index. A few dozen, once a second: insertion will do */
static void sort(struct sched_order *order, uint64_t links, const uint32_t *key)
{
	unsigned n = 0;

	for (; links; links &= links - 1) {
		const unsigned link = sched_lowest(links);
		unsigned place = n++;

		for (; place && key[order->link[place - 1]] > key[link]; place--)
			order->link[place] = order->link[place - 1];
		order->link[place] = (uint8_t)link;
	}
	for (unsigned place = 0; place < n; place++)
		order->place[order->link[place]] = (uint8_t)place;
}

static void set_bit(uint64_t *bits, unsigned bit, bool on)
{
	*bits = (*bits & ~(UINT64_C(1) << bit)) | (uint64_t)on << bit;
}

/* Links whose round trip is not a tenth longer than that of the link at each place */
static void find_near(struct sched_room *room, uint64_t measured, const uint32_t *rtt)
{
	for (unsigned place = 0; place < (unsigned)__builtin_popcountll(measured); place++) {
		const uint64_t best = rtt[room->timed.link[place]];

		room->near[place] = 0;
		for (uint64_t links = measured; links; links &= links - 1) {
			const unsigned link = sched_lowest(links);

			room->near[place] |= (uint64_t)((uint64_t)rtt[link] * 10 < best * 11) << link;
		}
	}
}

/* What follows from the last samples, and from the group's order and threshold */
static void learn(struct sched_room *room, const struct sched_input *input)
{
	uint32_t rank[CONFIG_MAX_LINKS], rtt[CONFIG_MAX_LINKS];

	room->group = input->group;
	room->measured = link_runtime_measured_generation(input->runtime);
	room->links = room->unmeasured = room->listed.room = room->timed.room = 0;
	for (uint64_t links = input->candidates; links; links &= links - 1) {
		const unsigned i = sched_lowest(links);

		room->flows[i] = most_flows_of(input, i);
		rank[i] = input->group->rank[i];
		rtt[i] = link_runtime_measured(input->runtime, i).rtt_us;
		set_bit(&room->unmeasured, i, !rtt[i]);
	}
	sort(&room->listed, input->candidates, rank);
	sort(&room->timed, input->candidates & ~room->unmeasured, rtt);
	find_near(room, input->candidates & ~room->unmeasured, rtt);
}

/* ---- with each decision ---- */

bool sched_room_update(struct sched_room *room, unsigned link, uint32_t flows)
{
	const bool has = flows <= room->flows[link];

	set_bit(&room->links, link, has);
	set_bit(&room->listed.room, room->listed.place[link], has);
	if (!(room->unmeasured >> link & 1))
		set_bit(&room->timed.room, room->timed.place[link], has);
	return has;
}

void sched_room_learn(struct sched_lineup *lineup, const struct sched_input *input)
{
	struct sched_room *room = &lineup->room;

	if (room->group == input->group && room->measured == link_runtime_measured_generation(input->runtime))
		return;
	learn(room, input);
	lineup->counts.known = false;
}
