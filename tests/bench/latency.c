/* SPDX-License-Identifier: MIT */
/* See latency.h. Cells come in octaves: 1024 of 1 ns twice, then 1024 of 2 ns, of 4 ns, and so on.
 */
#include "latency.h"

#define OCTAVE_BITS 10
#define OCTAVE	    (UINT64_C(1) << OCTAVE_BITS) /* cells */
#define MAX_BITS    40
#define MAX_NS	    ((UINT64_C(1) << MAX_BITS) - 1)
#define N_CELLS	    ((MAX_BITS - OCTAVE_BITS + 1) * OCTAVE)

static uint64_t cells[N_CELLS];
static uint64_t n_added, longest_ns;

static uint64_t cell_of(uint64_t ns)
{
	int shift = ns < OCTAVE ? 0 : 63 - OCTAVE_BITS - __builtin_clzll(ns);

	return (uint64_t)shift * OCTAVE + (ns >> shift);
}

/* The middle of a cell. */
static uint64_t ns_of(uint64_t cell)
{
	uint64_t shift = cell < OCTAVE ? 0 : cell / OCTAVE - 1;

	return ((cell - shift * OCTAVE) << shift) + (UINT64_C(1) << shift) / 2;
}

void latency_add(uint64_t ns)
{
	if (ns > MAX_NS)
		ns = MAX_NS;
	cells[cell_of(ns)]++;
	n_added++;
	if (ns > longest_ns)
		longest_ns = ns;
}

uint64_t latency_quantile(unsigned per_mille)
{
	uint64_t n_wanted = (n_added * per_mille + 999) / 1000, n = 0, cell = 0;

	if (per_mille == 1000)
		return longest_ns;
	while ((n += cells[cell]) < n_wanted)
		cell++;
	return ns_of(cell) < longest_ns ? ns_of(cell) : longest_ns;
}
