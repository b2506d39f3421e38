/* SPDX-License-Identifier: MIT */
/*
 * endpoint: ADDRESS:PORT of the command lines of bench-load and bench-direct, IPv4 in numbers.
 * Nothing else is measured, so nothing else is understood.
 */
#ifndef ENDPOINT_H
#define ENDPOINT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>

/* Returns 0, or -EINVAL: not an address and a port. */
static inline int endpoint_parse(const char *text, struct sockaddr_in *ret)
{
	char address[INET_ADDRSTRLEN], rest;
	unsigned port;

	*ret = (struct sockaddr_in){.sin_family = AF_INET};
	if (sscanf(text, "%15[0-9.]:%5u%c", address, &port, &rest) != 2 || port > UINT16_MAX ||
		inet_pton(AF_INET, address, &ret->sin_addr) != 1)
		return -EINVAL;
	ret->sin_port = htons((uint16_t)port);
	return 0;
}

#endif
