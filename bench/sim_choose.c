/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench/sim_choose.c - the contenders: ours through decide(), what people use today, the bounds
 */
#include <stdlib.h>

#include <netinet/in.h>

#include "bench/sim_private.h"

#define SAMPLE_INTERVAL 1.0 /* s */
#define START_MS 3600000 /* tables take 0 for never */
#define RECENT_LOG2 12

/* nf_conntrack_tcp_timeout_time_wait and nf_conntrack_udp_timeout */
static const double linger[2] = { 120, 30 };

const char *sim_contender_name(enum sim_contender contender)
{
	static const char *const names[] = {
		[SIM_POLICY] = "policy",
		[SIM_LEAST_LOAD] = "least-load",
		[SIM_WRR] = "wrr",
		[SIM_HASH] = "hash",
		[SIM_SPILLOVER] = "spillover",
		[SIM_NTH] = "nth",
		[SIM_RANDOM] = "random",
		[SIM_ECMP] = "ecmp",
		[SIM_ENTRIES] = "entries",
		[SIM_SAMPLED] = "sampled",
		[SIM_PERFECT] = "perfect",
		[SIM_POOLED] = "pooled",
	};

	_Static_assert(sizeof(names) / sizeof(*names) == SIM_CONTENDERS, "every contender has a name");
	return names[contender];
}

/* SplitMix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(struct sim *sim)
{
	uint64_t z = (sim->random += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* ---- setting up ---- */

static bool open_links(struct sim *sim)
{
	for (size_t i = 0; i < sim->config->n_links; i++) {
		const double rate = (double)sim->config->links[i].download / 8;

		if (rate <= 0)
			return false;
		sim->links[i].rate = rate;
		sim->total_rate += rate;
	}
	sim->n_links = (unsigned)sim->config->n_links;
	if (sim->contender == SIM_POOLED) {
		sim->links[0].rate = sim->total_rate;
		sim->n_links = 1;
	}
	return true;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		const uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Who knows weights only is given those that an administrator would choose: by capacity,
 * in smallest numbers (nth would otherwise run through whole seconds of one link) */
static void weigh_by_capacity(struct sim *sim)
{
	uint64_t divisor = 0;

	for (size_t i = 0; i < sim->config->n_links; i++) {
		sim->shares[i] = sim->config->links[i].weight * (sim->config->links[i].download / 1000);
		divisor = common_divisor(divisor, sim->shares[i]);
	}
	for (size_t i = 0; i < sim->config->n_links; i++) {
		sim->shares[i] /= divisor ? divisor : 1;
		sim->sum_of_shares += sim->shares[i];
		if (sim->contender == SIM_WRR || sim->contender == SIM_HASH)
			link_runtime_set_weight(&sim->runtime, (unsigned)i, (uint32_t)sim->shares[i]);
	}
}

static void set_scheduler(struct sim *sim, enum scheduler scheduler)
{
	for (size_t i = 0; i < sim->config->n_groups; i++)
		atomic_store_explicit(&sim->runtime.scheduler[sim->config->groups[i].slot], (uint8_t)scheduler,
				      memory_order_relaxed);
}

bool sim_open(struct sim *sim, const struct sim_setting *setting, enum sim_contender contender)
{
	sim->contender = contender;
	sim->config = policy_config(setting->policy);
	sim->second = setting->second;
	sim->context = setting->context;
	track_class_init(sim->classes);
	if (contender != SIM_PERFECT) {
		sim->delay = setting->delay;
		sim->learn = setting->learn_lifetimes;
		sim->idle_share = setting->idle_share;
		sim->idle_time = setting->idle_time;
	}
	sim->random = setting->seed;
	sim->load.workers = 1;
	link_runtime_init(&sim->runtime, sim->config);
	weigh_by_capacity(sim);
	if (contender == SIM_LEAST_LOAD || contender == SIM_PERFECT)
		set_scheduler(sim, SCHED_LEAST_LOAD);
	else if (contender == SIM_WRR)
		set_scheduler(sim, SCHED_WRR);
	else if (contender == SIM_HASH)
		set_scheduler(sim, SCHED_HASH);
	else if (contender == SIM_SPILLOVER)
		set_scheduler(sim, SCHED_SPILLOVER);
	sim->decider = (struct decider){
		.policy = setting->policy,
		.runtime = &sim->runtime,
		.sticky = sticky_new(sim->config->sticky_entries),
		.sched = calloc(1, sizeof(*sim->decider.sched)),
		.recent = recent_new(RECENT_LOG2),
		.load = &sim->load,
		.key = { setting->seed, ~setting->seed },
	};
	return sim->decider.sticky && sim->decider.sched && sim->decider.recent && open_links(sim);
}

void sim_close(struct sim *sim)
{
	for (unsigned i = 0; i < CONFIG_MAX_LINKS; i++)
		free(sim->links[i].present.item);
	for (unsigned i = 0; i < 2; i++)
		free(sim->lingering[i]);
	free(sim->reports.item);
	free(sim->guessed);
	free(sim->slowdown);
	free(sim->entries_until);
	sticky_free(sim->decider.sticky);
	free(sim->decider.sched);
	recent_free(sim->decider.recent);
	free(sim);
}

/* ---- what is known without userspace ---- */

bool sim_entry_linger(struct sim *sim, size_t flow, unsigned link, double now)
{
	const unsigned class = sim->flows[flow].flow.protocol == IPPROTO_TCP ? 0 : 1;

	if (sim->contender != SIM_ENTRIES)
		return true;
	if (sim->lingering_end[class] == sim->lingering_room[class]) {
		const size_t room = sim->lingering_room[class] ? sim->lingering_room[class] * 2 : 1024;
		struct sim_lingering *queue = realloc(sim->lingering[class], room * sizeof(*queue));

		if (!queue)
			return false;
		sim->lingering[class] = queue;
		sim->lingering_room[class] = room;
	}
	sim->lingering[class][sim->lingering_end[class]++] = (struct sim_lingering){ now + linger[class], link };
	return true;
}

static void expire_entries(struct sim *sim)
{
	for (unsigned class = 0; class < 2; class ++) {
		const struct sim_lingering *queue = sim->lingering[class];
		size_t *begin = &sim->lingering_begin[class];

		for (; *begin < sim->lingering_end[class] && queue[*begin].until <= sim->now; (*begin)++)
			sim->entries[queue[*begin].link]--;
	}
}

/* As the daemon does once a second: up at once, down slowly */
static void publish_sample(struct sim *sim, unsigned link)
{
	const uint64_t before = link_runtime_measured(&sim->runtime, link).bits_down;
	const uint64_t now = (uint64_t)(sim->sampled[link] * 8 / (sim->now - sim->sampled_at));
	const struct link_measured measured = {
		.bits_down = before > now ? (before + now) / 2 : now,
		.sending = load_sending(&sim->load, link),
	};

	link_runtime_set_measured(&sim->runtime, link, &measured);
}

void sim_sample(struct sim *sim)
{
	if (sim->now < sim->sampled_at + SAMPLE_INTERVAL)
		return;
	for (unsigned i = 0; i < sim->n_links; i++) {
		sim->sampled[i] = sim->links[i].sent - sim->sent_before[i];
		sim->sent_before[i] = sim->links[i].sent;
		publish_sample(sim, i);
	}
	sim->sampled_at = sim->now;
}

/* ---- choosing ---- */

static unsigned by_weight(const struct sim *sim, uint64_t number)
{
	number %= sim->sum_of_shares;
	for (unsigned i = 0; i < sim->n_links; i++) {
		if (number < sim->shares[i])
			return i;
		number -= sim->shares[i];
	}
	return 0;
}

static unsigned fewest_entries(struct sim *sim)
{
	unsigned best = 0;

	expire_entries(sim);
	for (unsigned i = 1; i < sim->n_links; i++) {
		if ((double)(sim->entries[i] + 1) * sim->links[best].rate <
		    (double)(sim->entries[best] + 1) * sim->links[i].rate)
			best = i;
	}
	sim->entries[best]++;
	return best;
}

static unsigned least_sampled(const struct sim *sim)
{
	unsigned best = 0;

	for (unsigned i = 1; i < sim->n_links; i++) {
		if (sim->sampled[i] / sim->links[i].rate < sim->sampled[best] / sim->links[best].rate)
			best = i;
	}
	return best;
}

static unsigned by_decision(struct sim *sim, const struct sim_flow *flow)
{
	const struct flow_meta meta = { .mark = 0 };
	const struct decision decision =
		decide(&sim->decider, &flow->flow, &meta, START_MS + (uint64_t)(flow->arrival * 1000));

	if (decision.action == DECISION_LINK)
		return (unsigned)decision.link;
	/* not steered (bypass, a family that no link carries): where main's default would lead */
	sim->out->unsteered++;
	return 0;
}

unsigned sim_choose(struct sim *sim, size_t index)
{
	const struct sim_flow *flow = &sim->flows[index];

	switch (sim->contender) {
	case SIM_NTH:
		return by_weight(sim, sim->turn++);
	case SIM_RANDOM:
		return by_weight(sim, next_random(sim));
	case SIM_ECMP:
		return by_weight(sim, flow_hash_tuple(&flow->flow, sim->decider.key));
	case SIM_ENTRIES:
		return fewest_entries(sim);
	case SIM_SAMPLED:
		return least_sampled(sim);
	case SIM_POOLED:
		return 0;
	case SIM_POLICY:
	case SIM_LEAST_LOAD:
	case SIM_WRR:
	case SIM_HASH:
	case SIM_SPILLOVER:
	case SIM_PERFECT:
	case SIM_CONTENDERS:
		break;
	}
	return by_decision(sim, flow);
}
