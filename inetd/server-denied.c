/* SPDX-License-Identifier: MIT */
/* What sensors remember, as part of the server: its beginning, and an upgrade in place. */
#include "server-private.h"

#include "log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

int server_make_denied(struct server *server)
{
	uint8_t key[SIPHASH_KEY_SIZE];
	int r = getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key)
			? denied_new(&server->denied, DENIED_MAX, key)
			: -errno;

	if (r < 0)
		log_write(LOG_CRIT, &(struct log_about){.reason = "start-failed", .error = r},
			"cannot make the memory of sensors: %s", strerror(-r));
	return r;
}

int server_save_denied(const struct server *server, struct succession *ret)
{
	uint32_t n = denied_n(server->denied, server_now(server)), i = 0;
	struct saved_denial *saved = calloc((size_t)n + 1, sizeof(*saved));

	if (!saved)
		return -ENOMEM;
	ret->denials = saved;
	for (; (i = denied_next(server->denied, i, &saved->network, &saved->until_usec)) > 0;
		saved++, ret->n_denials++)
		if (saved->until_usec == DENIED_FOREVER)
			saved->until_usec = 0;
	return 0;
}

void server_restore_denied(struct server *server)
{
	const struct succession *succession = server->succession;

	for (size_t i = 0; i < succession->n_denials; i++) {
		const struct saved_denial *saved = &succession->denials[i];

		if (network_is_valid(&saved->network))
			(void)denied_add(server->denied, &saved->network,
				saved->until_usec > 0 ? saved->until_usec : DENIED_FOREVER,
				server_now(server));
	}
}
