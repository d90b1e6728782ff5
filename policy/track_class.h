/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track_class.h - how long flows of a kind send, learnt from those that ended
 *
 * For protocols that do not say when they end. A kind is the protocol, for UDP with the
 * destination port: each below 1024, above in classes of 1024 ports.
 */
#ifndef POLICY_TRACK_CLASS_H
#define POLICY_TRACK_CLASS_H

#include <stdbool.h>
#include <stdint.h>

#define TRACK_CLASSES (1024 + 63 + 256)

struct track_class {
	uint16_t exchange; /* share of flows that were one question and one answer, of 65535 */
	uint32_t lifetime_ms; /* mean time that the others send */
};

void track_class_init(struct track_class classes[TRACK_CLASSES]);
uint16_t track_class_of(uint8_t protocol, uint16_t dport);

/* Is such a flow over when its answer is there? */
bool track_class_exchange(const struct track_class *class);

/* A flow of this class has ended. `active_ms` UINT32_MAX: unknown. */
void track_class_learn(struct track_class *class, uint32_t sent, uint32_t answered, uint32_t active_ms);

#endif
