/* SPDX-License-Identifier: MIT */
/*
 * Networks, as administrators write them in only_from and no_access: a prefix of IPv4 or IPv6.
 *
 * Pure: resolves nothing. An IPv4-mapped IPv6 address is IPv4 everywhere.
 *
 * Invariant: the bits of a network after its prefix are zero.
 */
#pragma once

#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for network_format() of any network. */
#define NETWORK_TEXT_MAX 64

/* Most networks that one factorised text may stand for: "10.0.0.{1,2,3}". */
#define NETWORK_MAX_FACTORS 1024

/* A plain value. */
struct network {
	uint16_t family;     /* AF_INET or AF_INET6 */
	uint16_t n_bits;     /* of the prefix: 0 to 32, or 0 to 128 */
	uint8_t address[16]; /* network byte order; AF_INET: the first 4 bytes, the rest zero */
};

/*
 * Parse "192.0.2.1", "192.0.2.0/24", "192.0.2.0/255.255.255.0", "2001:db8::1", "2001:db8::/32",
 * and xinetd's forms (xinetd.conf(5), only_from): a numeric IPv4 address whose last parts are 0 is
 * the network of the others ("192.0.2.0" is /24, "0.0.0.0" everybody), "192.0.2." and "192.0.2"
 * too, and "192.0.2.{1,2,64}" is several.
 *
 * Returns 0 with *ret_networks (free(3)) and *ret_n; 1: it is no address, but may be a name;
 * -EINVAL with a sentence in `why`: what is wrong, and what was expected; -ENOMEM.
 */
int network_parse(
	const char *text, struct network **ret_networks, size_t *ret_n, char *why, size_t why_size);

/* The prefix of `n_bits` of an address. `family` of *address must be AF_INET or AF_INET6. */
struct network network_of(const struct wire_address *address, unsigned int n_bits);

/* Is it one as network_of() makes them? For what was read from outside. */
bool network_is_valid(const struct network *network);

bool network_contains(const struct network *network, const struct wire_address *address);

/* A total order: by family, address, length. */
int network_compare(const struct network *a, const struct network *b);

/* "192.0.2.0/24"; a single address without a length. Returns `buffer` (NETWORK_TEXT_MAX bytes). */
const char *network_format(const struct network *network, char *buffer);
