/* SPDX-License-Identifier: MIT */
/*
 * To whom the sockets of a service are lent that usherd does not use itself: datagram sockets, and
 * with `deliver = "listener"` listening ones.
 *
 * The borrower is the first provider that has registered and takes listeners, before any standby;
 * with `takeover = newest` all before the newest one are draining, so that it is the newest.
 * Nothing else counts, so there is nothing to be remembered but whom we have told.
 *
 * What somebody had is looked after before anybody else has it, because it is one socket for all
 * (kernel: an open file description). Only providers that `providers {}` names ever get one.
 */
#include "service-private.h"

#include "log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool can_borrow(const struct provider *p)
{
	return p->takes_listeners && provider_is_serving(p);
}

/* Does `p` come before `other` (NULL: nobody)? */
static bool is_before(const struct provider *p, const struct provider *other)
{
	if (!other || p->record->is_standby != other->record->is_standby)
		return !other || other->record->is_standby;
	return p->number < other->number;
}

static struct provider *choose_borrower(const struct service *s)
{
	struct provider *first = NULL;

	if (s->is_paused || s->is_ending || s->is_unfiltered || intake_n_lent(s->intake) == 0)
		return NULL;
	for (struct provider *p = s->providers; p; p = p->next)
		if (can_borrow(p) && is_before(p, first))
			first = p;
	return first;
}

static void log_damage(const struct service *s, const struct listener *l, int priority, int error,
	const char *sentence)
{
	char text[ADDRESS_TEXT_MAX];

	log_write(priority,
		&(struct log_about){.service = s->name,
			.listener = address_format(listener_bound(l), text),
			.reason = "lent-damaged",
			.error = error},
		"%s: %s, which was lent, %s%s%s", s->name, text, sentence, error ? ": " : "",
		error ? strerror(-error) : "");
}

static void repair(const struct service *s, struct listener *l)
{
	int r = listener_repair(l);

	if (r < 0)
		log_damage(s, l, LOG_ERR, r, "cannot be made as it was before");
	else if (r == LISTENER_WAS_CLOSED)
		log_damage(s, l, LOG_WARNING, 0,
			"did not listen any more: a provider has called shutdown(2) or connect(2). "
			"It listens again; who came meanwhile was refused");
	else if (r == LISTENER_WAS_CONNECTED)
		log_damage(s, l, LOG_WARNING, 0,
			"was connected to one peer: a provider has called connect(2). It is not any "
			"more; what others sent meanwhile is lost");
	else if (r == LISTENER_IS_BROKEN)
		log_damage(s, l, LOG_ERR, 0,
			"was shut down or connected by a provider, which cannot be undone: take it "
			"out of the "
			"configuration, reload, put it in again and reload");
}

/*
 * Nobody has them for now, as far as we have a say in it. Who had them may have locked a filter of
 * his own (SO_LOCK_FILTER): then nobody gets them any more.
 */
static void repair_all(struct service *s)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	for (size_t i = 0; i < n; i++)
		if (intake_lends(s->intake, listeners[i]))
			repair(s, listeners[i]);
	service_filter(s);
}

/* What is lent, for provider_lend(). */
struct loan {
	struct wire_listener *listeners;
	int *fds;
	size_t n;
};

static void loan_done(struct loan *loan)
{
	free(loan->listeners);
	free(loan->fds);
}

static int make_loan(const struct service *s, struct loan *ret)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	*ret = (struct loan){
		.listeners = calloc(n + 1, sizeof(*ret->listeners)),
		.fds = calloc(n + 1, sizeof(*ret->fds)),
	};
	if (!ret->listeners || !ret->fds)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct address *bound = listener_bound(listeners[i]);
		struct wire_listener *record = &ret->listeners[ret->n];

		if (!intake_lends(s->intake, listeners[i]))
			continue;
		record->type = (uint32_t)bound->type;
		record->index = listener_index(listeners[i]);
		wire_address_from_sockaddr(&record->address, &bound->sockaddr);
		ret->fds[ret->n++] = listener_fd(listeners[i]);
	}
	return 0;
}

static void tell_borrower(const struct service *s)
{
	struct loan loan;

	if (make_loan(s, &loan) >= 0)
		provider_lend(s->borrower, loan.listeners, loan.fds, loan.n);
	if (!s->borrower->owes_listeners)
		provider_log(s->borrower, LOG_INFO, "lent", "has %zu socket%s lent to it", loan.n,
			loan.n == 1 ? "" : "s");
	loan_done(&loan); /* without memory it stays owed, and is tried at the next event */
}

/* Those that have to be told that they have nothing come first. */
static void tell(struct service *s)
{
	s->is_lending_new = false;
	for (struct provider *p = s->providers; p; p = p->next)
		if (p != s->borrower && provider_wants_listeners(p))
			provider_lend(p, NULL, NULL, 0);
	if (s->borrower && provider_wants_listeners(s->borrower))
		tell_borrower(s);
	for (struct provider *p = s->providers; p; p = p->next)
		s->is_lending_new |= p->owes_listeners && provider_is_serving(p);
}

/* A program of who had them before may have begun after they were repaired. */
static void forbid_blocking(const struct service *s)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	for (size_t i = 0; i < n; i++)
		if (intake_lends(s->intake, listeners[i]))
			listener_forbid_blocking(listeners[i]);
}

static void change_borrower(struct service *s, struct provider *p)
{
	if (s->borrower) {
		provider_owe_listeners(s->borrower);
		repair_all(s);
		if (s->is_unfiltered)
			p = NULL;
	}
	s->borrower = p;
	if (!p)
		return;
	forbid_blocking(s);
	provider_owe_listeners(p);
}

/* Did anything happen that the borrower depends on? */
static bool is_due(const struct service *s)
{
	return s->is_lending_new ||
	       (s->borrower && (s->is_paused || s->is_ending || s->is_unfiltered ||
				       !can_borrow(s->borrower)));
}

static enum intake_state wanted_lending(const struct service *s)
{
	static const enum intake_state when_unavailable[] = {
		[CONFIG_UNAVAILABLE_WAIT] = INTAKE_WAITING,
		[CONFIG_UNAVAILABLE_REFUSE] = INTAKE_REFUSING,
		[CONFIG_UNAVAILABLE_RESET] = INTAKE_RESETTING,
	};

	if (s->borrower)
		return INTAKE_LENT;
	return s->is_paused ? INTAKE_PAUSED : when_unavailable[s->config.unavailable];
}

void service_lend(struct service *s)
{
	if (is_due(s)) {
		struct provider *p = choose_borrower(s);

		if (p != s->borrower)
			change_borrower(s, p);
		service_screen(s);
		tell(s);
	}
	intake_set_lending(s->intake, wanted_lending(s));
}

void service_end_borrowing(struct service *s, const struct provider *p)
{
	if (p != s->borrower)
		return;
	repair_all(s);
	s->borrower = NULL;
	s->is_lending_new = true;
}

void service_take_back(struct service *s)
{
	size_t n, n_stored = 0;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	for (size_t i = 0; i < n; i++)
		n_stored += listener_store_number(listeners[i]) > 0;
	if (s->borrower && n_stored < n)
		provider_lend(s->borrower, NULL, NULL, 0);
	s->borrower = NULL;
}

bool service_only_lends(const struct service *s)
{
	size_t n;

	(void)intake_listeners(s->intake, &n);
	return n > 0 && intake_n_lent(s->intake) == n;
}

const struct provider *service_borrower(const struct service *s)
{
	return s->borrower;
}
