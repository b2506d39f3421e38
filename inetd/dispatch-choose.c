/* SPDX-License-Identifier: MIT */
/* Which provider gets the next connection: see dispatch.h. */
#include "dispatch-private.h"

/* How many connections the provider has in hand, for balance. */
static uint64_t load_of(const struct dispatch_provider *p)
{
	return (uint64_t)p->unclaimed.n + p->claimed.n + p->n_foreign;
}

static bool is_eligible(const struct dispatch_provider *p, bool is_standby)
{
	return p->is_standby == is_standby && usable_credit(p) > 0;
}

static bool is_less_loaded(const struct dispatch_provider *a, const struct dispatch_provider *b)
{
	return (load_of(a) + 1) * b->weight < (load_of(b) + 1) * a->weight;
}

/*
 * The eligible provider with the least load for its weight; among equals the one after the last
 * chosen.
 */
static struct dispatch_provider *choose_least(struct dispatch *d, bool is_standby)
{
	struct dispatch_provider *p = d->cursor, *best = NULL;

	do {
		if (is_eligible(p, is_standby) && (!best || is_less_loaded(p, best)))
			best = p;
		p = p->next;
	} while (p != d->cursor);
	d->cursor = best->next;
	return best;
}

/* The eligible providers in turn; each gets as many in a row as its weight says. */
static struct dispatch_provider *choose_round_robin(struct dispatch *d, bool is_standby)
{
	struct dispatch_provider *p = d->cursor;

	while (!is_eligible(p, is_standby)) {
		p->n_turns = p->weight;
		p = p->next;
	}
	d->cursor = p;
	if (--p->n_turns == 0) {
		p->n_turns = p->weight;
		d->cursor = p->next;
	}
	return p;
}

struct dispatch_provider *dispatch_choose(struct dispatch *d)
{
	bool is_standby = d->usable_credit[false] == 0;

	return d->balance == DISPATCH_LEAST ? choose_least(d, is_standby)
					    : choose_round_robin(d, is_standby);
}

uint32_t dispatch_least_unclaimed(const struct dispatch *d)
{
	bool is_standby = d->usable_credit[false] == 0;
	const struct dispatch_provider *p = d->cursor;
	uint32_t least = UINT32_MAX;

	if (usable_credit_of_all(d) == 0)
		return least;
	do {
		if (is_eligible(p, is_standby) && p->unclaimed.n < least)
			least = p->unclaimed.n;
		p = p->next;
	} while (p != d->cursor && least > 0);
	return least;
}
