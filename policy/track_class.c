/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * policy/track_class.c - how long flows of a kind send
 *
 * Moving averages that weigh a flow with 1/16: what a few dozen flows said.
 */
#include "policy/track_class.h"

#define OWN_PORTS 1024
#define PORT_CLASS_LOG2 10
#define PROTOCOL_UDP 17
#define PROTOCOL_ICMP 1
#define PROTOCOL_ICMPV6 58

#define SHARE_ONE 65535
#define EXCHANGE_PACKETS 2 /* each way: a resolver asks for A and AAAA from one socket */
#define DEFAULT_LIFETIME_MS 2000
#define MAX_LIFETIME_MS 60000

uint16_t track_class_of(uint8_t protocol, uint16_t dport)
{
	if (protocol != PROTOCOL_UDP)
		return (uint16_t)(TRACK_CLASSES - 256 + protocol);
	return dport < OWN_PORTS ? dport : (uint16_t)(OWN_PORTS - 1 + (dport >> PORT_CLASS_LOG2));
}

/* Before anything is learnt: DNS, NTP and echo are exchanges, the rest lasts a moment */
void track_class_init(struct track_class classes[TRACK_CLASSES])
{
	const uint16_t exchanges[] = {
		track_class_of(PROTOCOL_UDP, 53),
		track_class_of(PROTOCOL_UDP, 123),
		track_class_of(PROTOCOL_ICMP, 0),
		track_class_of(PROTOCOL_ICMPV6, 0),
	};

	for (unsigned i = 0; i < TRACK_CLASSES; i++)
		classes[i] = (struct track_class){ .exchange = 0, .lifetime_ms = DEFAULT_LIFETIME_MS };
	for (unsigned i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++)
		classes[exchanges[i]].exchange = SHARE_ONE;
}

bool track_class_exchange(const struct track_class *class)
{
	return class->exchange > SHARE_ONE / 4 * 3;
}

void track_class_learn(struct track_class *class, uint32_t sent, uint32_t answered, uint32_t active_ms)
{
	/* counted at all? Without accounting every flow would look like an exchange */
	if (sent == 0)
		return;
	if (sent <= EXCHANGE_PACKETS && answered <= EXCHANGE_PACKETS) {
		/* one without an answer tells nothing of what answers look like */
		if (answered)
			class->exchange = (uint16_t)(class->exchange + (SHARE_ONE - class->exchange) / 16);
		return;
	}
	class->exchange = (uint16_t)(class->exchange - class->exchange / 16);
	if (active_ms == UINT32_MAX)
		return;
	if (active_ms > MAX_LIFETIME_MS)
		active_ms = MAX_LIFETIME_MS;
	class->lifetime_ms = (15 * class->lifetime_ms + active_ms) / 16;
}
