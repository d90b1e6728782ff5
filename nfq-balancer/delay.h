/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/delay.h - quantiles of delays
 *
 * A histogram whose bins grow by a quarter of a power of two, so a quantile is right to
 * a fifth. Old values fade: each delay_fade() halves what was counted before, unless
 * that is little: then the last known values stay.
 */
#ifndef NFQB_DELAY_H
#define NFQB_DELAY_H

#include <stdint.h>

#define DELAY_BINS 128

struct delay {
	uint32_t n[DELAY_BINS];
	uint32_t total;
};

void delay_add(struct delay *delay, uint32_t us);
/* At most so many of a thousand were longer than the result, in us; 0: nothing was counted */
uint32_t delay_quantile(const struct delay *delay, uint32_t permille);
void delay_fade(struct delay *delay);

#endif
