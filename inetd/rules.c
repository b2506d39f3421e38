/* SPDX-License-Identifier: MIT */
/*
 * Which rule decides: see rules.h.
 *
 * In the order of network_compare() a network comes after all that it is a part of. So they are
 * gone through with a stack of those that are open: a span begins where one opens, and where one
 * closes and what it was a part of goes on.
 */
#include "rules.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Networks that contain each other differ in length. */
#define MAX_DEPTH 129

static size_t n_bytes_of(uint16_t family)
{
	return family == AF_INET ? 4 : 16;
}

static int compare_rules(const void *a, const void *b)
{
	const struct config_rule *one = *(const struct config_rule *const *)a;
	const struct config_rule *other = *(const struct config_rule *const *)b;
	int r = network_compare(&one->network, &other->network);

	return r != 0 ? r : one->is_allowed - other->is_allowed; /* no_access is met first */
}

struct builder {
	uint16_t family;
	struct rules_span *spans;
	size_t n_spans;
	const struct config_rule *open[MAX_DEPTH];
	size_t n_open;
};

/* From `first` on it is the innermost that is open. */
static void begin_span(struct builder *b, const uint8_t *first)
{
	struct rules_span *last = b->n_spans > 0 ? &b->spans[b->n_spans - 1] : NULL;

	if (!last || memcmp(last->first, first, sizeof(last->first)) != 0)
		last = &b->spans[b->n_spans++];
	memcpy(last->first, first, sizeof(last->first));
	last->rule = b->n_open > 0 ? b->open[b->n_open - 1] : NULL;
}

/* The address after the last one of the network. Returns false if there is none. */
static bool find_end(const struct network *network, uint8_t *ret)
{
	size_t i = n_bytes_of(network->family);
	unsigned int carry = 1;

	memcpy(ret, network->address, sizeof(network->address));
	while (i-- > 0) {
		size_t n_kept = network->n_bits > 8 * i ? network->n_bits - 8 * i : 0;
		unsigned int host_bits = n_kept < 8 ? 0xffu >> n_kept : 0;

		carry += ret[i] | host_bits;
		ret[i] = (uint8_t)carry;
		carry >>= 8;
	}
	return carry == 0;
}

/* Close the innermost, if it ends at `address` or before it; NULL: anyway. */
static bool close_one(struct builder *b, const uint8_t *address)
{
	uint8_t end[16];
	bool has_end;

	if (b->n_open == 0)
		return false;
	has_end = find_end(&b->open[b->n_open - 1]->network, end);
	if (address && (!has_end || memcmp(end, address, sizeof(end)) > 0))
		return false;
	b->n_open--;
	if (has_end)
		begin_span(b, end);
	return true;
}

/* Rules in order; those of other families are passed over. Returns the number of spans. */
static size_t build(
	uint16_t family, const struct config_rule *const *rules, size_t n, struct rules_span *ret)
{
	struct builder b = {.family = family, .spans = ret};

	begin_span(&b, (const uint8_t[16]){0});
	for (size_t i = 0; i < n; i++) {
		const struct config_rule *rule = rules[i];

		if (rule->network.family != family ||
			(i > 0 && network_compare(&rule->network, &rules[i - 1]->network) == 0))
			continue;
		while (close_one(&b, rule->network.address))
			;
		assert(b.n_open < MAX_DEPTH);
		b.open[b.n_open++] = rule;
		begin_span(&b, rule->network.address);
	}
	while (close_one(&b, NULL))
		;
	return b.n_spans;
}

void rules_init(struct rules *ret, const struct config_rule *rules, size_t n_rules)
{
	const struct config_rule **sorted = calloc(n_rules + 1, sizeof(struct config_rule *));

	*ret = (struct rules){
		.rules = rules,
		.n_rules = n_rules,
		.v4 = calloc(2 * n_rules + 1, sizeof(*ret->v4)),
		.v6 = calloc(2 * n_rules + 1, sizeof(*ret->v6)),
	};
	if (!sorted || !ret->v4 || !ret->v6) {
		free(sorted);
		rules_done(ret);
		return;
	}
	for (size_t i = 0; i < n_rules; i++)
		sorted[i] = &rules[i];
	qsort(sorted, n_rules, sizeof(struct config_rule *), compare_rules);
	ret->n_v4 = build(AF_INET, sorted, n_rules, ret->v4);
	ret->n_v6 = build(AF_INET6, sorted, n_rules, ret->v6);
	free(sorted);
}

void rules_done(struct rules *rules)
{
	free(rules->v4);
	free(rules->v6);
	rules->v4 = rules->v6 = NULL;
	rules->n_v4 = rules->n_v6 = 0;
}

/* Is `rule` the better one to decide, both matching? */
static bool is_better(const struct config_rule *rule, const struct config_rule *other)
{
	if (!other || rule->network.n_bits != other->network.n_bits)
		return !other || rule->network.n_bits > other->network.n_bits;
	return other->is_allowed && !rule->is_allowed;
}

static const struct config_rule *find_slowly(
	const struct rules *rules, const struct wire_address *peer)
{
	const struct config_rule *best = NULL;

	for (size_t i = 0; i < rules->n_rules; i++)
		if (network_contains(&rules->rules[i].network, peer) &&
			is_better(&rules->rules[i], best))
			best = &rules->rules[i];
	return best;
}

const struct config_rule *rules_find(const struct rules *rules, const struct wire_address *peer)
{
	const struct rules_span *spans = peer->family == AF_INET ? rules->v4 : rules->v6;
	size_t low = 0, high = peer->family == AF_INET ? rules->n_v4 : rules->n_v6;

	if (!spans)
		return find_slowly(rules, peer);
	while (high - low > 1) { /* it is one from `low` to before `high` */
		size_t middle = low + (high - low) / 2;

		if (memcmp(spans[middle].first, peer->address, sizeof(peer->address)) <= 0)
			low = middle;
		else
			high = middle;
	}
	return spans[low].rule;
}
