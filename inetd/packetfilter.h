/* SPDX-License-Identifier: MIT */
/*
 * only_from and no_access as a program that the kernel runs for each packet (socket(7),
 * SO_ATTACH_FILTER): for sockets that are lent, of which usherd accepts and reads nothing.
 *
 * It looks at the source address in the IP header. Pure: here it is made, not attached.
 *
 * Invariant: what the program says of an address is what rules_find() says of it.
 */
#pragma once

#include "rules.h"
#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

/* Most instructions that the kernel takes. */
#define PACKETFILTER_MAX BPF_MAXINSNS

/*
 * Make the program for `rules`; who matches none is kept out if `has_only_from`. `program` has room
 * for PACKETFILTER_MAX instructions.
 *
 * Returns 0 with *ret_n instructions; -E2BIG: there are too many rules for the kernel (it takes
 * some 2,000 networks of IPv4, or 500 to 1,300 of IPv6); -ENOMEM.
 */
int packetfilter_make(
	const struct rules *rules, bool has_only_from, struct sock_filter *program, size_t *ret_n);
