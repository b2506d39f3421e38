/* SPDX-License-Identifier: MIT */
/*
 * only_from and no_access of sockets that are lent: usherd sees nobody who comes there, so that the
 * kernel has to keep them out (packetfilter.h).
 *
 * Where that cannot be done the sockets are lent to nobody: who is to be kept out must not get in
 * because there are too many rules, or a right is missing.
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

/* Returns 0, or the first error. */
static int set_filters(const struct service *s, const struct sock_filter *program, size_t n_program)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		size_t n_wanted = intake_lends(s->intake, listeners[i]) ? n_program : 0;
		int one = 0;

		if (has_addresses(listeners[i]))
			one = listener_set_filter(listeners[i], program, n_wanted);
		r = r < 0 ? r : one;
	}
	return r;
}

void service_filter(struct service *s)
{
	struct sock_filter program[PACKETFILTER_MAX];
	size_t n_program;
	int r = make_program(s, program, &n_program);

	if (r >= 0)
		r = set_filters(s, program, n_program);
	if (r < 0)
		log_failure(s, r);
	s->is_unfiltered = r < 0;
	s->is_lending_new = true;
}
