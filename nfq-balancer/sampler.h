/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nfq-balancer/sampler.h - rates and shares of each link over the last minutes
 *
 * sampler_new() registers itself as daemon->sampler. Control thread only.
 */
#ifndef NFQB_SAMPLER_H
#define NFQB_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

struct sampler;

struct sampler_link {
	uint64_t flows; /* new flows the workers gave it since the start */
	uint64_t flows_5min; /* of these, in the last five minutes */
	uint64_t rate_tenths; /* new flows/s over the last ten seconds, in tenths */
	uint64_t rx_bits, tx_bits; /* bit/s over the last five seconds */
	uint64_t rx_bits_now; /* over the last second */
	uint64_t rx_bytes, tx_bytes; /* through the interface since the start */
};

/* All zero while `sampler` is NULL */
struct sampler_link sampler_link(const struct sampler *sampler, unsigned link);

#endif
