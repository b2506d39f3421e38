/* SPDX-License-Identifier: MIT */
/* An upgrade in place as dispatch sees it: see dispatch-copy.h. */
#include "dispatch-copy.h"
#include "test.h"

static void copy_handoff(
	struct dispatch *to, struct dispatch_provider *p, const struct handoff *saved)
{
	struct handoff *h =
		dispatch_restore_handoff(to, p, saved->id, saved->sequence, saved->state);

	assert_non_null(h);
	h->client = saved->client;
	h->entered_usec = saved->entered_usec;
	h->given_usec = saved->given_usec;
	h->fd = saved->fd;
	h->listener = saved->listener;
	h->source = saved->source;
	h->n_hops = saved->n_hops;
	h->accepted_ns = saved->accepted_ns;
	h->peer = saved->peer;
	h->forwarded = saved->forwarded;
}

static void copy_list(
	struct dispatch *to, struct dispatch_provider *p, const struct handoff_list *saved)
{
	for (const struct handoff *h = saved->first; h; h = h->next)
		copy_handoff(to, p, h);
}

static void copy_waiting(struct handoff *h, void *userdata)
{
	if (h->state == HANDOFF_WAITING)
		copy_handoff(userdata, NULL, h);
}

static struct dispatch_provider *copy_provider(
	struct dispatch *to, const struct dispatch_provider *saved)
{
	struct dispatch_provider *p = dispatch_restore_provider(to, saved, saved->userdata);

	assert_non_null(p);
	copy_list(to, p, &saved->unclaimed);
	copy_list(to, p, &saved->claimed);
	return p;
}

/* Nobody is left, and nothing waits: what the old process was is over without a word. */
static void end(struct dispatch *d, struct dispatch_provider *providers[], size_t n)
{
	struct dispatch_action action;
	struct handoff h;

	for (size_t i = 0; i < n; i++) {
		dispatch_gone(d, providers[i], 0);
		while (dispatch_next(d, &action))
			;
	}
	while (dispatch_take_waiting(d, &h))
		;
	dispatch_free(d);
}

void replace_dispatch(struct dispatch **d, enum dispatch_balance balance, uint32_t instances,
	struct dispatch_provider *providers[], size_t n)
{
	struct dispatch_provider *copies[128];
	struct dispatch *to;

	assert_true(n <= sizeof(copies) / sizeof(copies[0]));
	assert_int_equal(dispatch_new(&to, balance, instances), 0);
	dispatch_set_parked(to, dispatch_n_parked(*d));
	assert_int_equal(dispatch_restore(to, dispatch_totals(*d), dispatch_id_limit(*d)), 0);
	for (size_t i = 0; i < n; i++)
		copies[i] = copy_provider(to, providers[i]);
	dispatch_visit_unclaimed(*d, copy_waiting, to);
	dispatch_restored(to, 0);
	end(*d, providers, n);
	for (size_t i = 0; i < n; i++)
		providers[i] = copies[i];
	*d = to;
}
