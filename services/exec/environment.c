/* SPDX-License-Identifier: MIT */
/* The variables of a connection: see environment.h. */
#include "environment.h"

#include <arpa/inet.h>
#include <assert.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define HOST_SIZE (INET6_ADDRSTRLEN + 16) /* and a scope */

struct place {
	char host[HOST_SIZE];
	unsigned int port;
	bool is_ipv6;
};

static void print_ipv6(struct place *place, const struct sockaddr_in6 *in6)
{
	size_t length;

	(void)inet_ntop(AF_INET6, &in6->sin6_addr, place->host, sizeof(place->host));
	length = strlen(place->host);
	if (in6->sin6_scope_id != 0)
		(void)snprintf(place->host + length, sizeof(place->host) - length, "%%%u",
			in6->sin6_scope_id);
	place->is_ipv6 = true;
}

/* Returns false if it is no address of the internet. */
static bool find_place(struct endpoint endpoint, struct place *ret)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	*ret = (struct place){0};
	if (endpoint.length >= sizeof(in) && endpoint.address->ss_family == AF_INET) {
		memcpy(&in, endpoint.address, sizeof(in));
		(void)inet_ntop(AF_INET, &in.sin_addr, ret->host, sizeof(ret->host));
		ret->port = ntohs(in.sin_port);
		return true;
	}
	if (endpoint.length < sizeof(in6) || endpoint.address->ss_family != AF_INET6)
		return false;
	memcpy(&in6, endpoint.address, sizeof(in6));
	ret->port = ntohs(in6.sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
		(void)inet_ntop(AF_INET, &in6.sin6_addr.s6_addr[12], ret->host, sizeof(ret->host));
	else
		print_ipv6(ret, &in6);
	return true;
}

/* In the order in which they are made. */
static const char *const names[] = {"PROTO", "TCPREMOTEIP", "REMOTE_HOST", "REMOTE_ADDR",
	"TCPREMOTEPORT", "REMOTE_PORT", "TCPLOCALIP", "TCPLOCALPORT"};

static_assert(sizeof(names) / sizeof(names[0]) == ENVIRONMENT_MAX, "there is room for all");
static_assert(sizeof("TCPREMOTEPORT=") + HOST_SIZE <= ENVIRONMENT_TEXT_SIZE,
	"the longest name and the longest value fit");

bool environment_is_own(const char *assignment)
{
	size_t length = strcspn(assignment, "=");

	for (size_t i = 0; i < ENVIRONMENT_MAX; i++)
		if (strlen(names[i]) == length && strncmp(names[i], assignment, length) == 0)
			return true;
	return false;
}

size_t environment_make(struct environment *environment, char **ret_variables,
	struct endpoint remote, struct endpoint local)
{
	struct place there, here;
	bool is_internet = find_place(remote, &there) && find_place(local, &here);
	char ports[2][16] = {"", ""};
	const char *values[ENVIRONMENT_MAX] = {
		"TCP", there.host, there.host, there.host, ports[0], ports[0], here.host, ports[1]};
	size_t n = ENVIRONMENT_MAX;

	if (is_internet) {
		(void)snprintf(ports[0], sizeof(ports[0]), "%u", there.port);
		(void)snprintf(ports[1], sizeof(ports[1]), "%u", here.port);
	} else {
		values[0] = "UNIX";
		n = local.length >= sizeof(sa_family_t) && local.address->ss_family == AF_UNIX;
	}
	for (size_t i = 0; i < n; i++) {
		ret_variables[i] = environment->texts[i];
		(void)stpcpy(stpcpy(stpcpy(ret_variables[i], names[i]), "="), values[i]);
	}
	ret_variables[n] = NULL;
	return n;
}

const char *endpoint_format(struct endpoint endpoint, char *buffer)
{
	struct place place;

	if (find_place(endpoint, &place))
		return strcpy(buffer, place.host);
	return strcpy(buffer,
		endpoint.length >= sizeof(sa_family_t) && endpoint.address->ss_family == AF_VSOCK
			? "vsock"
			: "unix");
}
