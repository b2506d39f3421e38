/* SPDX-License-Identifier: MIT */
/* The bounds of all histograms: see histogram.h. */
#include "histogram.h"

const uint64_t histogram_bounds_usec[HISTOGRAM_N_BOUNDS] = {
	30,
	100,
	300,
	1000,
	3000,
	10000,
	30000,
	100000,
	300000,
	1000000,
	3000000,
	10000000,
	30000000,
	100000000,
};
