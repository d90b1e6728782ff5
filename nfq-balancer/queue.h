/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/queue.h - one NFQUEUE: the wall to nfnetlink_queue
 *
 * Receives batches of packets and sends batches of verdicts. A queue is opened by
 * the control thread and then belongs to one worker; only queue_set_fail_open() and
 * queue_run_dry() may be called from another thread meanwhile. Source: net/netfilter/nfnetlink_queue.c.
 */
#ifndef NFQB_QUEUE_H
#define NFQB_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conntrack/mark.h"

/* 60 verdicts of 60 bytes stay below 3776, above which the kernel allocates the send buffer by vmalloc */
#define QUEUE_BATCH 60
/* Enough for IPv6 with a few extension headers and the ports behind them */
#define QUEUE_COPY 128

struct queue;

struct queue_packet {
	uint32_t id;
	uint32_t mark; /* packet mark, 0 when absent */
	uint32_t ifindex; /* input interface, 0: sent by the router itself */
	bool local; /* from the OUTPUT hook */
	const uint8_t *bytes; /* from the IP header on, valid until the next queue_receive() */
	size_t len;
};

/* Can a verdict carry the conntrack mark on this kernel? Asks without creating a queue.
 * 1: yes, 0: no, -1: errno. The caller has CAP_NET_ADMIN. */
int queue_probe_conntrack(unsigned number);

/* Bind queue `number`. NULL with one line in `error`: taken by another program, no permission, ... */
struct queue *queue_open(unsigned number, unsigned length, bool fail_open, char *error, size_t size);
void queue_close(struct queue *queue);
unsigned queue_number(const struct queue *queue);

enum queue_look {
	QUEUE_LOOK, /* fetch what is there, up to QUEUE_BATCH packets */
	QUEUE_WAIT, /* the same, once something is there */
	QUEUE_WAIT_ONE, /* wait for one packet and fetch no other: faster where none is expected */
};

/* Fetch packets. Returns how many are in `out`; 0 when only answers of the kernel came or nothing was there
 * (`*empty` tells the latter); -1: the socket is broken, errno says how. */
int queue_receive(struct queue *queue, struct queue_packet out[QUEUE_BATCH], enum queue_look look, bool *empty);

/* Append one verdict ACCEPT: `set_mark` replaces the packet mark; `ct` may be NULL */
void queue_accept(struct queue *queue, uint32_t id, bool set_mark, uint32_t mark, const struct conntrack_mark_attr *ct);
/* Send what was appended */
void queue_flush(struct queue *queue);

/* Refused messages and verdicts so far */
uint64_t queue_errors(const struct queue *queue);

/* Does a packet that finds the queue full go on to the fallback? False: errno */
bool queue_set_fail_open(const struct queue *queue, bool fail_open);

/* Let no further packet in (they fail open to the fallback) and have the kernel acknowledge
 * it: queue_dry() is true once the acknowledgement was received, after every queued packet. */
bool queue_run_dry(struct queue *queue);
bool queue_dry(const struct queue *queue);

#endif
