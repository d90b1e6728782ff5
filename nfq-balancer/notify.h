/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/notify.h - sd_notify(3) without libsystemd: one datagram
 */
#ifndef NFQB_NOTIFY_H
#define NFQB_NOTIFY_H

#include <stdint.h>

/* Tell the service manager, e.g. "READY=1". Nothing happens without NOTIFY_SOCKET. */
void notify_send(const char *state);

/* Half of WATCHDOG_USEC in ms, 0: no watchdog wanted (of this process) */
uint64_t notify_watchdog_ms(void);

#endif
