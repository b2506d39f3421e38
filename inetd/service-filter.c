/* SPDX-License-Identifier: MIT */
/*
 * only_from and no_access of sockets that are lent: usherd sees nobody who comes there, so that the
 * kernel has to keep them out (packetfilter.h).
 *
 * Where that cannot be done the sockets are lent to nobody: who is to be kept out must not get in
 * because there are too many rules, or a right is missing.
 *
 * The kernel asks its program when somebody comes. Who is in the socket already, because usherd was
 * to ask, or nobody could, is taken out of it before it is lent: it is "screened" when all who wait
 * there have come in by the kernel's leave. What was attached to a socket when it came to us, bound
 * for this service or left by an earlier usherd, is that.
 */
#include "service-private.h"

#include "log.h"
#include "packetfilter.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static const char *hint_for(int error)
{
	switch (error) {
	case -E2BIG:
		return "they have more networks than it takes. Make them fewer";
	case -EPERM:
		return "for TCP it wants CAP_NET_ADMIN, which usherd keeps if it is started by root "
		       "with such a service. Restart it, or let it have that capability";
	default:
		return strerror(-error);
	}
}

static void log_failure(const struct service *s, int error)
{
	log_write(LOG_ERR,
		&(struct log_about){.service = s->name, .reason = "filter-failed", .error = error},
		"%s: its sockets are lent to nobody, because the kernel does not carry out "
		"only_from and no_access: %s",
		s->name, hint_for(error));
}

/* As it is to be for what is lent. Returns 0 with *ret_n, 0 for none; or a negative errno. */
static int make_program(const struct service *s, struct sock_filter *program, size_t *ret_n)
{
	const struct config_admission *config = &s->config.admission;

	*ret_n = 0;
	if (intake_n_lent(s->intake) == 0 || (config->n_rules == 0 && !config->has_only_from))
		return 0;
	return packetfilter_make(
		admission_rules(s->admission), config->has_only_from, program, ret_n);
}

static bool has_addresses(const struct listener *l)
{
	sa_family_t family = listener_bound(l)->sockaddr.sa_family;

	return family == AF_INET || family == AF_INET6;
}

/* Returns 0 or a negative errno. */
static int set_filter(const struct service *s, struct listener *l,
	const struct sock_filter *program, size_t n_program)
{
	bool is_lent = intake_lends(s->intake, l);
	int r = has_addresses(l) ? listener_set_filter(l, program, is_lent ? n_program : 0) : 0;

	listener_set_screened(l, is_lent && r >= 0 && (n_program == 0 || listener_is_screened(l)));
	return r;
}

/* Returns 0, or the first error. */
static int set_filters(const struct service *s, const struct sock_filter *program, size_t n_program)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		int one = set_filter(s, listeners[i], program, n_program);

		r = r < 0 ? r : one;
	}
	return r;
}

/* Who comes now comes in, or by a program that is not of these rules. */
static void unscreen(const struct service *s)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	for (size_t i = 0; i < n; i++)
		listener_set_screened(listeners[i], false);
}

void service_filter(struct service *s)
{
	struct sock_filter program[PACKETFILTER_MAX];
	size_t n_program;
	int r = make_program(s, program, &n_program);

	if (r >= 0)
		r = set_filters(s, program, n_program);
	else
		unscreen(s);
	if (r < 0)
		log_failure(s, r);
	s->is_unfiltered = r < 0;
	s->is_lending_new = true;
}

static void log_screened(const struct service *s, const struct listener *l, uint32_t n)
{
	char text[ADDRESS_TEXT_MAX];

	log_write(LOG_NOTICE,
		&(struct log_about){.service = s->name,
			.listener = address_format(listener_bound(l), text),
			.reason = "lent"},
		"%s: before %s was lent %u waited there whom only_from and no_access had not been "
		"asked about: usherd has accepted them, and hands over or parks who may come in",
		s->name, text, n);
}

static void log_unasked(const struct service *s, const struct listener *l, uint32_t n)
{
	char text[ADDRESS_TEXT_MAX];

	log_write(LOG_WARNING,
		&(struct log_about){.service = s->name,
			.listener = address_format(listener_bound(l), text),
			.reason = "lent"},
		"%s: before %s was lent %u waited there whom usherd could not ask about only_from "
		"and no_access, because it has not enough descriptors: they are reset",
		s->name, text, n);
}

static void empty(const struct service *s, struct listener *l)
{
	char text[ADDRESS_TEXT_MAX];
	int r = listener_empty(l);

	if (r < 0)
		log_write(LOG_ERR,
			&(struct log_about){.service = s->name,
				.listener = address_format(listener_bound(l), text),
				.reason = "listen-failed",
				.error = r},
			"%s: %s does not listen any more: %s", s->name, text, strerror(-r));
}

static void screen(struct service *s, struct listener *l)
{
	uint32_t n;

	if (listener_bound(l)->type == SOCK_DGRAM) {
		empty(s, l);
		return;
	}
	n = service_accept_all(s, l);
	if (n > 0)
		log_screened(s, l, n);
	n = listener_n_waiting(l);
	if (n == 0 || n == UINT32_MAX)
		return;
	log_unasked(s, l, n);
	empty(s, l);
}

void service_screen(struct service *s)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	/* At once, borrower or not, paused or not: the next usherd takes the program for leave. */
	if (s->is_unfiltered)
		return;
	for (size_t i = 0; i < n; i++) {
		struct listener *l = listeners[i];

		if (!intake_lends(s->intake, l) || listener_is_screened(l))
			continue;
		if (has_addresses(l))
			screen(s, l);
		listener_set_screened(l, true);
	}
}
