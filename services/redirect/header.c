/* SPDX-License-Identifier: MIT */
/* See header.h. */
#include "header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
	COMMAND_LOCAL = 0x20,
	COMMAND_PROXY = 0x21,
	FAMILY_NONE = 0x00,
	FAMILY_TCP4 = 0x11,
	FAMILY_TCP6 = 0x21,
};

/* A client or a local address, in network byte order. */
struct end {
	int family;
	uint8_t address[16];
	uint16_t port;
};

static void read_end(struct end *ret, const struct sockaddr_storage *address)
{
	struct sockaddr_in ipv4;
	struct sockaddr_in6 ipv6;

	*ret = (struct end){.family = address->ss_family};
	memcpy(&ipv4, address, sizeof(ipv4));
	memcpy(&ipv6, address, sizeof(ipv6));
	ret->port = ipv4.sin_port; /* both have it at the same place */
	if (ret->family == AF_INET) {
		memcpy(ret->address, &ipv4.sin_addr, 4);
	} else if (ret->family != AF_INET6) {
		return; /* a client chooses what its address of AF_UNIX looks like */
	} else if (IN6_IS_ADDR_V4MAPPED(&ipv6.sin6_addr)) {
		ret->family = AF_INET;
		memcpy(ret->address, ipv6.sin6_addr.s6_addr + 12, 4);
	} else {
		memcpy(ret->address, &ipv6.sin6_addr, 16);
	}
}

static size_t append(char *header, size_t n, const void *bytes, size_t size)
{
	memcpy(header + n, bytes, size);
	return n + size;
}

size_t header_write(
	char *header, const struct sockaddr_storage *client, const struct sockaddr_storage *local)
{
	static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
	struct end from, to;
	size_t size, n;
	bool is_known;

	read_end(&from, client);
	read_end(&to, local);
	is_known = from.family == to.family && (from.family == AF_INET || from.family == AF_INET6);
	size = from.family == AF_INET ? 4 : 16;
	n = append(header, 0, signature, 12);
	header[n++] = is_known ? COMMAND_PROXY : COMMAND_LOCAL;
	header[n++] = !is_known ? FAMILY_NONE : size == 4 ? FAMILY_TCP4 : FAMILY_TCP6;
	header[n++] = 0;
	header[n++] = is_known ? (char)(2 * size + 4) : 0;
	if (!is_known)
		return n;
	n = append(header, n, from.address, size);
	n = append(header, n, to.address, size);
	n = append(header, n, &from.port, 2);
	return append(header, n, &to.port, 2);
}
