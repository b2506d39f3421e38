/* SPDX-License-Identifier: MIT */
/*
 * latency: a histogram of times of which quantiles are wanted. The width of a cell grows with the
 * time, and is never more than 1/1024 of it: one in 30 us is known to 15 ns. Adding one is a few
 * instructions, and takes no memory; there is one histogram for a process.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdint.h>

/* Count a latency in nanoseconds; everything above 18 minutes is 18 minutes. */
void latency_add(uint64_t ns);

/* The latency in nanoseconds that `per_mille` (0 to 1000) of those added do not exceed; 1000 is the
 * longest one exactly. 0 if there are none. */
uint64_t latency_quantile(unsigned per_mille);

#endif
