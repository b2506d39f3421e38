/* SPDX-License-Identifier: MIT */
/* Which provider gets the next connection: see dispatch.h. */
#include "dispatch-private.h"

#include "siphash.h"
#include <math.h>

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

/* Which of the places from `first` to `first` + 63 are somebody's who is not leaving, as bits. */
static uint64_t taken_places(const struct dispatch *d, uint32_t first)
{
	const struct dispatch_provider *p = d->cursor;
	uint64_t taken = 0;

	do {
		if (!is_leaving(p) && p->place >= first && p->place - first < 64)
			taken |= UINT64_C(1) << (p->place - first);
		p = p->next;
	} while (p != d->cursor);
	return taken;
}

/* The lowest: who comes for one that is gone or leaving gets the clients of that one. */
static uint32_t free_place(const struct dispatch *d)
{
	uint64_t taken;
	uint32_t first = 1;

	while ((taken = taken_places(d, first)) == UINT64_MAX)
		first += 64;
	return first + (uint32_t)__builtin_ctzll(~taken);
}

/*
 * How much this client wants this provider, above 0. The hash as a fraction is less than 1 by an
 * exponentially distributed distance, so that each is the first for a share of its weight. The key
 * is always the same, or an upgrade would move everybody.
 */
static double rank_of(const struct dispatch_provider *p, uint64_t client)
{
	static const uint8_t key[SIPHASH_KEY_SIZE];
	const uint64_t pair[] = {client, p->place};
	uint64_t hash = siphash_of(key, pair, sizeof(pair));

	return p->weight / -log(((double)(hash >> 12) + 0.5) * 0x1p-52);
}

/* The eligible provider that the client wants most. */
static struct dispatch_provider *choose_by_source(
	struct dispatch *d, bool is_standby, uint64_t client)
{
	struct dispatch_provider *p = d->cursor, *best = NULL;
	double rank, best_rank = 0;

	do {
		if (is_eligible(p, is_standby)) {
			if (p->place == 0)
				p->place = free_place(d);
			rank = rank_of(p, client);
			if (rank > best_rank) {
				best = p;
				best_rank = rank;
			}
		}
		p = p->next;
	} while (p != d->cursor);
	return best;
}

struct dispatch_provider *dispatch_choose(struct dispatch *d, uint64_t client)
{
	bool is_standby = d->usable_credit[false] == 0;

	switch (d->balance) {
	case DISPATCH_LEAST:
		return choose_least(d, is_standby);
	case DISPATCH_ROUND_ROBIN:
		return choose_round_robin(d, is_standby);
	case DISPATCH_SOURCE:
		break;
	}
	return choose_by_source(d, is_standby, client);
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
