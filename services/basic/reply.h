/* SPDX-License-Identifier: MIT */
/*
 * Which datagrams may be answered. Who sends a datagram can write any sender into it, so an answer
 * may go to somebody who has not asked, and two services that answer everything may go on answering
 * each other for ever.
 *
 * Pure. Invariant: what is in doubt is not answered.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Where a datagram was sent to, as the kernel says (ip(7), ipv6(7)). */
struct reply_destination {
	enum {
		REPLY_UNKNOWN,
		REPLY_IPV4,
		REPLY_IPV6,
	} type;
	union {
		struct in_pktinfo ipv4;
		struct in6_pktinfo ipv6;
	};
};

/* The ports on which we receive ourselves. Zero-initialise. */
struct reply_ports {
	uint8_t bits[(UINT16_MAX + 1) / 8];
};

void reply_ports_add(struct reply_ports *ports, uint16_t port);

/*
 * May what `sender` has sent to `destination` be answered? No, if
 *
 *   the sender's port is below 1024, or 0: that is no client, but a service, and several of those
 *       answer whatever they get: the small services (7 to 37), but also DNS, TFTP and NTP
 *       (CVE-2024-2169 has the list);
 *   the sender's port is one of `own`: it might be us, or one like us;
 *   it was sent to a broadcast or multicast address, or nobody knows where to: all receivers would
 *       answer at once;
 *   it has no sender (AF_UNIX).
 */
bool reply_is_allowed(const struct sockaddr *sender, socklen_t length,
	const struct reply_destination *destination, const struct reply_ports *own);
