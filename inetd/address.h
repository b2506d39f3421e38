/* SPDX-License-Identifier: MIT */
/*
 * Addresses as administrators write them ("tcp:[::1]:ssh") and as the kernel takes them.
 *
 * Pure but for services(5), which getservbyname(3) reads, the names of interfaces, and what
 * address_read() asks a socket. Binds nothing, resolves no host name, logs nothing.
 */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Most ports of one range: a typing error must not open the whole machine. */
#define ADDRESS_MAX_RANGE 1024

/* Room for address_format() of any address. */
#define ADDRESS_TEXT_MAX 128

/* One place to listen. A plain value: copy it freely. */
struct address {
	int type;		     /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET (AF_UNIX only) */
	int protocol;		     /* IPPROTO_MPTCP, or 0 */
	char interface[IF_NAMESIZE]; /* the only one to listen on (SO_BINDTODEVICE); "": all */
	bool is_wildcard; /* tcp:PORT: all addresses, IPv6 and IPv4, or IPv4 alone where IPv6 is
			   * off; sockaddr is then [::]:PORT */
	socklen_t length;
	union {
		struct sockaddr sockaddr;
		struct sockaddr_storage storage;
	};
};

/*
 * Parse `text`: "tcp:PORT", "tcp:IPV4:PORT", "tcp:[IPV6]:PORT" (with %scope for link-local ones),
 * where PORT is a number 0 to 65535 (0: the kernel chooses), a name of services(5) for that
 * protocol, or a range "FIRST-LAST" of numbers; the same with "udp:" and "mptcp:" (Multipath TCP,
 * RFC 8684); "tcp:%INTERFACE:PORT" for all addresses, but on that interface only (socket(7),
 * SO_BINDTODEVICE); "unix:/absolute/path", "unix-dgram:" or "unix-seqpacket:"; "vsock:PORT" or
 * "vsock:CID:PORT" (vsock(7)).
 *
 * Returns 0 with *ret_addresses (to be freed with free(3)) holding *ret_n, one for each port of a
 * range, else 1; -EINVAL with a sentence in `why` saying what is wrong and what was expected;
 * -ENOMEM. The sentence differs for each cause: unknown protocol, unknown service name, port out of
 * range, range backwards, range too long (ADDRESS_MAX_RANGE), bad IPv4 or IPv6 address, an
 * interface missing, unknown or out of place, path not absolute, path too long for sun_path
 * (unix(7), 107 bytes), context or port of vsock out of range, text after the end. Whether an
 * INTERFACE is there is not asked: bind(2) will say.
 */
int address_parse(const char *text, struct address **ret_addresses, size_t *ret_n, char *why,
	size_t why_size);

/* As text in the form that address_parse() takes, numeric: "tcp:80", "tcp:127.0.0.1:80",
 * "udp:[::1]:80", "tcp:%eth0:80", "unix:/run/x.sock", "vsock:3:80". Returns `buffer` (of
 * ADDRESS_TEXT_MAX bytes). */
const char *address_format(const struct address *address, char *buffer);

/* Only the host of a peer, for logs: "192.0.2.1", "2001:db8::1", "unix", "vsock:3". IPv4-mapped is
 * shown as IPv4. Returns `buffer` (of ADDRESS_TEXT_MAX bytes). */
const char *address_format_host(const struct sockaddr *sockaddr, char *buffer);

/* The port in host byte order; 0 for addresses without one. */
unsigned int address_port(const struct address *address);

/*
 * Where, on which interface and what kind of socket `fd` is (one that accept(2) returned: with the
 * interface of its listener). is_wildcard is false: a socket does not know of it.
 *
 * Returns 0 with *ret, or a negative errno: -ENOTSOCK; -ENODEV, its interface is no more.
 */
int address_read(int fd, struct address *ret);

/*
 * A total order, for qsort(3): unix: by path, then the internet protocols, then vsock:, these by
 * type, then port, and on one port the addresses that take a whole family (0.0.0.0, [::], tcp:PORT)
 * before all others, and of these the ones without an interface first. 0 means equal as of
 * address_equal().
 */
int address_compare(const struct address *a, const struct address *b);

/* Is it the same type, protocol, interface and address (and wildcard or not)? Port 0 differs from
 * every other port 0, so two such listeners may stand side by side: use this only to find a
 * listener again by its own address. */
bool address_equal(const struct address *a, const struct address *b);

/* Does it take its port on every address of AF_INET, AF_INET6 or AF_VSOCK (`family`), of its
 * interface if it has one? */
bool address_takes_family(const struct address *address, bool v6only, int family);

/* Can they be in each other's way at all? The same path, or the same port (not 0) and type. They
 * come one after the other in the order of address_compare(). */
bool address_shares_port(const struct address *a, const struct address *b);

/* What no address that shares the port of this one comes before. */
struct address address_first_of_port(const struct address *address);

/* The same on 0.0.0.0. Not for AF_UNIX and AF_VSOCK. */
struct address address_ipv4_any(const struct address *address);

/*
 * Would binding both fail? The same path, whatever the types; or a shared port with equal
 * addresses, or one of them a wildcard (tcp:80, tcp:0.0.0.0:80, tcp:[::]:80 with or without v6only,
 * vsock:80) that includes the other, unless both have interfaces that differ. mptcp: has the ports
 * of tcp:. Never true for port 0.
 */
bool address_conflicts(
	const struct address *a, bool a_v6only, const struct address *b, bool b_v6only);

/*
 * Can its listener refuse clients for a while and come back? AF_UNIX and AF_VSOCK cannot: who has
 * stopped listening there cannot begin again. Datagrams are not refused, they wait.
 */
bool address_can_refuse(const struct address *address);
