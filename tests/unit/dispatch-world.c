/* SPDX-License-Identifier: MIT */
/* Events and expected actions of dispatch in a few words: see dispatch-world.h. */
#include "dispatch-world.h"

#include <stdio.h>

void begin(struct world *w, enum dispatch_balance balance, uint32_t instances)
{
	*w = (struct world){.d = NULL};
	assert_int_equal(dispatch_new(&w->d, balance, instances), 0);
}

struct dispatch_provider *join_as(
	struct world *w, const char *name, int32_t credit, uint32_t weight, uint32_t n_foreign)
{
	struct dispatch_provider *p = dispatch_register(
		w->d, credit, weight, n_foreign, (void *)(uintptr_t)name[0], w->now_usec);

	assert_non_null(p);
	assert_true(w->n_providers < MAX_PROVIDERS);
	w->providers[w->n_providers++] = p;
	return p;
}

struct dispatch_provider *join(struct world *w, const char *name, int32_t credit)
{
	return join_as(w, name, credit, 1, 0);
}

void leave(struct world *w, struct dispatch_provider *p)
{
	size_t i = 0;

	while (w->providers[i] != p)
		i++;
	w->providers[i] = w->providers[--w->n_providers];
	dispatch_gone(w->d, p, w->now_usec);
}

void offer(struct world *w, int n)
{
	for (int i = 0; i < n; i++) {
		struct handoff *h;

		assert_int_equal(dispatch_room(w->d, 1), 1);
		h = dispatch_offer(w->d, w->now_usec);
		assert_non_null(h);
		assert_true(w->n_offered < MAX_CONNECTIONS);
		h->fd = ++w->n_offered;
		w->ids[w->n_offered] = h->id;
	}
}

void claim(struct world *w, struct dispatch_provider *p, uint64_t sequence)
{
	assert_int_equal(dispatch_claimed(w->d, p, sequence, w->now_usec), 0);
}

void release(struct world *w, struct dispatch_provider *p, int number)
{
	assert_int_equal(release_one(w->d, p, w->ids[number], w->now_usec), 0);
}

void set_credit(struct world *w, struct dispatch_provider *p, uint64_t sequence, int32_t how_many)
{
	assert_int_equal(dispatch_credited(w->d, p, sequence, how_many, w->now_usec), 0);
}

void decline(struct world *w, struct dispatch_provider *p, uint64_t first, uint64_t last)
{
	assert_int_equal(dispatch_declined(w->d, p, first, last, w->now_usec), 0);
}

void set_state(struct world *w, struct dispatch_provider *p, enum provider_state state)
{
	dispatch_set_state(w->d, p, state, w->now_usec);
}

char letter(const struct dispatch_provider *p)
{
	return (char)(uintptr_t)p->userdata;
}

static void format_action(const struct dispatch_action *action, char *text, size_t size)
{
	switch (action->type) {
	case DISPATCH_GIVE:
		snprintf(text, size, "%d>%c", action->handoff->fd,
			letter(action->handoff->provider));
		break;
	case DISPATCH_CLOSE:
		snprintf(text, size, "close:%d", action->handoff->fd);
		break;
	case DISPATCH_PAUSE:
		snprintf(text, size, "pause");
		break;
	case DISPATCH_RESUME:
		snprintf(text, size, "resume");
		break;
	}
}

void happens(struct world *w, const char *expected)
{
	char text[8192] = "";
	size_t length = 0;
	struct dispatch_action action;

	while (dispatch_next(w->d, &action)) {
		if (length > 0)
			text[length++] = ' ';
		assert_true(length + 32 < sizeof(text));
		format_action(&action, text + length, sizeof(text) - length);
		length += strlen(text + length);
	}
	assert_string_equal(text, expected);
	dispatch_check(w->d);
}

void happens_whatever(struct world *w)
{
	struct dispatch_action action;

	while (dispatch_next(w->d, &action))
		;
	dispatch_check(w->d);
}

void finish(struct world *w)
{
	const struct dispatch_totals *totals = dispatch_totals(w->d);
	struct handoff h;

	while (w->n_providers > 0) {
		leave(w, w->providers[0]);
		happens_whatever(w);
	}
	while (dispatch_take_waiting(w->d, &h))
		assert_in_range(h.fd, 1, w->n_offered);
	happens_whatever(w);
	assert_int_equal(dispatch_n_serving(w->d), 0);
	assert_int_equal(dispatch_n_unclaimed(w->d), 0);
	assert_int_equal(dispatch_n_in_service(w->d), 0);
	assert_int_equal(totals->n_accepted, w->n_offered);
	assert_int_equal(
		totals->n_accepted, totals->n_released + totals->n_lost + totals->n_given_up);
	assert_null(dispatch_free(w->d));
}
