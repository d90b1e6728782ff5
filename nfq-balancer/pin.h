/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/pin.h - which processors a worker may run on
 */
#ifndef NFQB_PIN_H
#define NFQB_PIN_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include "policy/config.h"

/* Can every processor that the configuration names be used? False: one line in `error`.
 * Control thread only: what it may use is what the workers get when nothing is pinned. */
bool pin_check(const struct pin_config *pin, char *error, size_t size);
/* The processors of worker `index` */
void pin_worker(const struct pin_config *pin, unsigned index, cpu_set_t *out);

#endif
