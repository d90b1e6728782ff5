/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/delay.c - quantiles of delays
 */
#include "nfq-balancer/delay.h"

#define FINE 4 /* bins of each power of two */
#define FADE_BELOW 1000 /* counts this small fade no further: the last known values stay */

/* 0..3 are bins of their own; then FINE bins for each power of two */
static unsigned bin_of(uint32_t us)
{
	unsigned log2;

	if (us < FINE)
		return us;
	log2 = 31 - (unsigned)__builtin_clz(us);
	return (log2 - 1) * FINE + (us >> (log2 - 2) & (FINE - 1));
}

/* The largest value of a bin */
static uint32_t bin_end(unsigned bin)
{
	const unsigned log2 = bin / FINE + 1;

	if (bin < FINE)
		return bin;
	return (uint32_t)(((uint64_t)(FINE + bin % FINE + 1) << (log2 - 2)) - 1);
}

void delay_add(struct delay *delay, uint32_t us)
{
	delay->n[bin_of(us)]++;
	delay->total++;
}

uint32_t delay_quantile(const struct delay *delay, uint32_t permille)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < DELAY_BINS; i++) {
		sum += delay->n[i];
		if (sum && sum * 1000 >= (uint64_t)delay->total * permille)
			return bin_end(i) ? bin_end(i) : 1;
	}
	return 0;
}

void delay_fade(struct delay *delay)
{
	if (delay->total < FADE_BELOW)
		return;
	delay->total = 0;
	for (unsigned i = 0; i < DELAY_BINS; i++) {
		delay->n[i] /= 2;
		delay->total += delay->n[i];
	}
}
