/* SPDX-License-Identifier: MIT */
/* See reply.h. */
#include "reply.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

void reply_ports_add(struct reply_ports *ports, uint16_t port)
{
	ports->bits[port / 8] |= (uint8_t)(1u << port % 8);
}

static bool has_port(const struct reply_ports *ports, uint16_t port)
{
	return ports->bits[port / 8] & 1u << port % 8;
}

/* Both kinds of address have the port at the same place. */
static uint16_t port_of(const struct sockaddr *sender)
{
	struct sockaddr_in address;

	memcpy(&address, sender, sizeof(address));
	return ntohs(address.sin_port);
}

/*
 * Of what was sent to a broadcast or multicast address the kernel names that one, and as ours the
 * one that an answer would come from; of anything else both are the same. Of what came before
 * anybody wanted to know it has not kept ours: then the answer has to come from the address that it
 * was sent to, which the kernel refuses (sendmsg(2): EINVAL) unless that is one of this machine's.
 */
static bool is_to_one(const struct reply_destination *destination)
{
	switch (destination->type) {
	case REPLY_IPV4:
		return destination->ipv4.ipi_spec_dst.s_addr == htonl(INADDR_ANY) ||
		       destination->ipv4.ipi_addr.s_addr == destination->ipv4.ipi_spec_dst.s_addr;
	case REPLY_IPV6:
		return !IN6_IS_ADDR_MULTICAST(&destination->ipv6.ipi6_addr);
	default:
		return false;
	}
}

bool reply_is_allowed(const struct sockaddr *sender, socklen_t length,
	const struct reply_destination *destination, const struct reply_ports *own)
{
	uint16_t port;

	if (length > offsetof(struct sockaddr_un, sun_path) && sender->sa_family == AF_UNIX)
		return true;
	if (length < sizeof(struct sockaddr_in) ||
		(sender->sa_family != AF_INET && sender->sa_family != AF_INET6))
		return false;
	port = port_of(sender);
	if (port < IPPORT_RESERVED || has_port(own, port))
		return false;
	return is_to_one(destination);
}
