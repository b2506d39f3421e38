/* SPDX-License-Identifier: MIT */
/*
 * The header of the PROXY protocol, version 2, binary: it tells a server whom a connection is from.
 * (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, section 2.2)
 *
 * Pure.
 */
#pragma once

#include <stddef.h>
#include <sys/socket.h>

/* With addresses of IPv6. */
#define HEADER_MAX (16 + 36)

/*
 * Write the header of a connection from `client` to `local`, the address that the client has
 * connected to. Other families than IPv4 and IPv6, or two that differ, are told as LOCAL, without
 * addresses. IPv4-mapped is IPv4. Returns how many bytes of `header`, HEADER_MAX at most.
 */
size_t header_write(
	char *header, const struct sockaddr_storage *client, const struct sockaddr_storage *local);
