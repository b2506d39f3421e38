/* SPDX-License-Identifier: MIT */
/*
 * only_from and no_access of sockets that are lent: usherd sees nobody who comes there, so that the
 * kernel has to keep them out (packetfilter.h).
 *
 * When that cannot be done nobody is let in: who is to be kept out must not get in because the
 * rules are too many.
 */
#include "service-private.h"

#include "log.h"
#include "packetfilter.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void log_failure(const struct service *s, int error)
{
	const struct log_about about = {
		.service = s->name, .reason = "filter-failed", .error = error};

	if (error == -E2BIG)
		log_write(LOG_ERR, &about,
			"%s: only_from and no_access have more networks than the kernel takes for "
			"sockets that are lent: nobody gets through until there are fewer",
			s->name);
	else
		log_write(LOG_ERR, &about,
			"%s: the kernel does not take only_from and no_access for sockets that are "
			"lent: %s",
			s->name, strerror(-error));
}

/* As it is to be for what is lent. Returns 0 with *ret_n, 0 for none; or a negative errno. */
static int make_program(const struct service *s, struct sock_filter *program, size_t *ret_n)
{
	const struct config_admission *config = &s->config.admission;

	*ret_n = 0;
	if (config->n_rules == 0 && !config->has_only_from)
		return 0;
	return packetfilter_make(
		admission_rules(s->admission), config->has_only_from, program, ret_n);
}

static bool has_addresses(const struct listener *l)
{
	sa_family_t family = listener_bound(l)->sockaddr.sa_family;

	return family == AF_INET || family == AF_INET6;
}

static void set_filters(
	const struct service *s, const struct sock_filter *program, size_t n_program)
{
	size_t n;
	struct listener *const *listeners = intake_listeners(s->intake, &n);

	for (size_t i = 0; i < n; i++) {
		size_t n_wanted = intake_lends(s->intake, listeners[i]) ? n_program : 0;
		int r = 0;

		if (has_addresses(listeners[i]))
			r = listener_set_filter(listeners[i], program, n_wanted);
		if (r < 0)
			log_failure(s, r);
	}
}

void service_filter(const struct service *s)
{
	struct sock_filter program[PACKETFILTER_MAX];
	size_t n_program = 0;
	int r = intake_n_lent(s->intake) > 0 ? make_program(s, program, &n_program) : 0;

	if (r < 0) {
		log_failure(s, r);
		program[0] = packetfilter_nobody();
		n_program = 1;
	}
	set_filters(s, program, n_program);
}
