/* SPDX-License-Identifier: MIT */
/* Do two configurations of a service say the same? See config.h. */
#include "config.h"

#include <string.h>

static bool are_same_names(char *const *a, char *const *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

static bool are_same_providers(const struct config_providers *a, const struct config_providers *b)
{
	return a->n_users == b->n_users && a->n_groups == b->n_groups &&
	       a->n_forward == b->n_forward && a->max == b->max && a->balance == b->balance &&
	       a->takeover == b->takeover && a->may_set_peer == b->may_set_peer &&
	       (a->n_users == 0 ||
		       memcmp(a->users, b->users, a->n_users * sizeof(*a->users)) == 0) &&
	       (a->n_groups == 0 ||
		       memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0) &&
	       are_same_names(a->forward, b->forward, a->n_forward);
}

static bool are_same_options(const struct config_socket *a, const struct config_socket *b)
{
	return a->backlog == b->backlog && a->nodelay == b->nodelay &&
	       a->keepalive == b->keepalive && a->v6only == b->v6only && a->freebind == b->freebind;
}

bool config_service_equal(const struct config_service *a, const struct config_service *b)
{
	if (a->n_listen != b->n_listen || a->instances != b->instances ||
		a->unavailable != b->unavailable ||
		a->claim_timeout_usec != b->claim_timeout_usec || a->park.max != b->park.max ||
		a->park.timeout_usec != b->park.timeout_usec)
		return false;
	for (size_t i = 0; i < a->n_listen; i++)
		if (!address_equal(&a->listen[i].address, &b->listen[i].address))
			return false;
	return are_same_providers(&a->providers, &b->providers) &&
	       are_same_options(&a->socket, &b->socket);
}
