/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/pin.c - which processors a worker may run on
 */
#include "nfq-balancer/pin.h"

#include <stdio.h>

static void usable_cpus(cpu_set_t *out)
{
	CPU_ZERO(out);
	sched_getaffinity(0, sizeof(*out), out);
}

/* "0-3,6": for a message */
static void list_cpus(const cpu_set_t *cpus, char *out, size_t size)
{
	size_t length = 0;

	out[0] = '\0';
	for (int first = 0, last; first < CPU_SETSIZE && length < size; first++) {
		if (!CPU_ISSET(first, cpus))
			continue;
		for (last = first; last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus);)
			last++;
		length += (size_t)snprintf(out + length, size - length, last > first ? "%s%d-%d" : "%s%d",
					   length ? "," : "", first, last);
		first = last;
	}
}

bool pin_check(const struct pin_config *pin, char *error, size_t size)
{
	cpu_set_t usable;
	char list[128];

	usable_cpus(&usable);
	for (size_t i = 0; i < pin->n_cpus; i++) {
		if (CPU_ISSET(pin->cpus[i], &usable))
			continue;
		list_cpus(&usable, list, sizeof(list));
		snprintf(error, size, "%s:%u: pin %u, expected processors that this program may use: %s", pin->file,
			 pin->line, pin->cpus[i], list);
		return false;
	}
	return true;
}

void pin_worker(const struct pin_config *pin, unsigned index, cpu_set_t *out)
{
	cpu_set_t usable;
	int turn, cpu = -1;

	usable_cpus(&usable);
	*out = usable;
	if (pin->kind == PIN_OFF || !CPU_COUNT(&usable))
		return;
	if (pin->kind == PIN_LIST) {
		cpu = pin->cpus[index % pin->n_cpus];
	} else {
		for (turn = (int)index % CPU_COUNT(&usable); turn >= 0; turn--)
			for (cpu++; !CPU_ISSET(cpu, &usable);)
				cpu++;
	}
	CPU_ZERO(out);
	CPU_SET(cpu, out);
}
