/* SPDX-License-Identifier: MIT */
/* Events and expected actions of dispatch in a few words: see dispatch-world.h. */
#include "dispatch-world.h"

#include <stdio.h>

void begin(struct world *w, enum dispatch_balance balance, uint32_t instances)
{
	*w = (struct world){.d = NULL};
	assert_int_equal(dispatch_new(&w->d, balance, instances), 0);
}

static struct dispatch_provider *add(struct world *w, struct dispatch_provider *p)
{
	assert_non_null(p);
	assert_true(w->n_providers < MAX_PROVIDERS);
	w->providers[w->n_providers++] = p;
	return p;
}

static struct dispatch_provider *join_with(
	struct world *w, const char *name, struct dispatch_hello hello)
{
	return add(w, dispatch_register(w->d, &hello, (void *)(uintptr_t)name[0], w->now_usec));
}

struct dispatch_provider *join_as(
	struct world *w, const char *name, int32_t credit, uint32_t weight, uint32_t n_foreign)
{
	return join_with(w, name,
		(struct dispatch_hello){
			.credit = credit, .weight = weight, .n_foreign = n_foreign});
}

struct dispatch_provider *join(struct world *w, const char *name, int32_t credit)
{
	return join_as(w, name, credit, 1, 0);
}

struct dispatch_provider *join_standby(struct world *w, const char *name, int32_t credit)
{
	return join_with(w, name,
		(struct dispatch_hello){.credit = credit, .weight = 1, .is_standby = true});
}

void leave(struct world *w, struct dispatch_provider *p)
{
	size_t i = 0;

	while (w->providers[i] != p)
		i++;
	w->providers[i] = w->providers[--w->n_providers];
	dispatch_gone(w->d, p, w->now_usec);
}

/* A connection that has a number, and new in dispatch. */
static void note(struct world *w, struct handoff *h, int number)
{
	assert_non_null(h);
	h->fd = number;
	w->ids[number] = h->id;
	w->n_handoffs++;
}

static void note_new(struct world *w, struct handoff *h)
{
	assert_true(w->n_offered < MAX_CONNECTIONS);
	note(w, h, ++w->n_offered);
}

void offer_of(struct world *w, uint64_t client)
{
	assert_int_equal(dispatch_room(w->d, 1), 1);
	note_new(w, dispatch_offer(w->d, client, w->now_usec));
}

void offer(struct world *w, int n)
{
	for (int i = 0; i < n; i++)
		offer_of(w, 0);
}

void take_over(struct world *w)
{
	note_new(w, dispatch_take_over(w->d, 0, w->now_usec));
}

void find_parked(struct world *w, int n)
{
	for (int i = 0; i < n; i++)
		w->parked[w->n_parked++] = ++w->n_offered;
	dispatch_set_parked(w->d, (uint32_t)n);
}

void park(struct world *w, int n)
{
	for (int i = 0; i < n; i++) {
		const struct handoff *h = dispatch_oldest_waiting(w->d);

		assert_non_null(h);
		w->parked[w->n_parked++] = h->fd;
		w->n_handoffs--;
		dispatch_park(w->d);
	}
}

static int take_parked(struct world *w)
{
	int number = w->parked[0];

	assert_true(w->n_parked > 0);
	memmove(&w->parked[0], &w->parked[1], (size_t)--w->n_parked * sizeof(w->parked[0]));
	return number;
}

void unpark(struct world *w, int n)
{
	for (int i = 0; i < n; i++) {
		assert_true(dispatch_can_unpark(w->d));
		note(w, dispatch_unpark(w->d, 0, w->now_usec), take_parked(w));
	}
}

void expire(struct world *w)
{
	(void)take_parked(w);
	dispatch_expire(w->d);
}

void claim(struct world *w, struct dispatch_provider *p, uint64_t sequence)
{
	assert_int_equal(dispatch_claimed(w->d, p, sequence, w->now_usec), 0);
}

void release(struct world *w, struct dispatch_provider *p, int number)
{
	assert_int_equal(release_one(w->d, p, w->ids[number], w->now_usec), 0);
}

void forward(struct world *w, struct dispatch_provider *p, int number)
{
	struct handoff h;

	assert_int_equal(dispatch_forwarded(w->d, p, w->ids[number], &h, w->now_usec), 0);
	assert_int_equal(h.id, w->ids[number]);
}

void hand_back(struct world *w, struct dispatch_provider *p, int number)
{
	struct handoff h;

	assert_int_equal(dispatch_handed_back(w->d, p, w->ids[number], &h), 0);
	assert_int_equal(h.id, w->ids[number]);
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

struct dispatch_provider *named(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->n_providers; i++)
		if (letter(w->providers[i]) == name[0])
			return w->providers[i];
	fail_msg("nobody is called %s", name);
	return NULL;
}

static void note_end(struct world *w, const struct handoff *h)
{
	assert_int_equal(h->state, HANDOFF_ENDED);
	for (int i = 1; i <= w->n_offered; i++)
		if (w->ids[i] == h->id && !w->has_ended[i]) {
			w->has_ended[i] = true;
			w->n_ended++;
			return;
		}
	fail_msg("a hand-off has ended that had ended before, or never came");
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
	case DISPATCH_ENDED:
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
		if (action.type == DISPATCH_ENDED) {
			note_end(w, action.handoff);
			continue;
		}
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
		if (action.type == DISPATCH_ENDED)
			note_end(w, action.handoff);
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
	assert_int_equal(dispatch_n_parked(w->d), w->n_parked);
	while (w->n_parked > 0)
		expire(w);
	happens_whatever(w);
	assert_int_equal(dispatch_n_serving(w->d), 0);
	assert_int_equal(dispatch_n_unclaimed(w->d), 0);
	assert_int_equal(dispatch_n_in_service(w->d), 0);
	assert_int_equal(totals->n_accepted + totals->n_taken_over, w->n_offered);
	assert_int_equal(w->n_offered, totals->n_released + totals->n_forwarded + totals->n_lost +
					       totals->n_expired + totals->n_given_up);
	assert_int_equal(w->n_ended, w->n_handoffs);
	assert_null(dispatch_free(w->d));
}
