/* SPDX-License-Identifier: MIT */
/*
 * Addresses as texts and compared: see address.h.
 *
 * Comparing knows how Linux binds: a wildcard address takes the port of every address it includes,
 * and a socket without an interface takes it on every interface.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#define SUN_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

static const struct in6_addr *in6_of(const struct sockaddr *sockaddr)
{
	return &((const struct sockaddr_in6 *)(const void *)sockaddr)->sin6_addr;
}

static uint32_t scope_of(const struct sockaddr *sockaddr)
{
	return ((const struct sockaddr_in6 *)(const void *)sockaddr)->sin6_scope_id;
}

static const struct sockaddr_vm *vm_of(const struct address *address)
{
	return (const struct sockaddr_vm *)(const void *)&address->storage;
}

static const char *path_of(const struct address *address)
{
	return ((const struct sockaddr_un *)(const void *)&address->storage)->sun_path;
}

const char *address_format_host(const struct sockaddr *sockaddr, char *buffer)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sockaddr;
	const struct in6_addr *in6 = in6_of(sockaddr);
	size_t length;

	switch (sockaddr->sa_family) {
	case AF_INET:
		return inet_ntop(AF_INET, &in->sin_addr, buffer, ADDRESS_TEXT_MAX);
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(in6))
			return inet_ntop(AF_INET, &in6->s6_addr[12], buffer, ADDRESS_TEXT_MAX);
		(void)inet_ntop(AF_INET6, in6, buffer, ADDRESS_TEXT_MAX);
		length = strlen(buffer);
		if (scope_of(sockaddr) != 0)
			(void)snprintf(buffer + length, ADDRESS_TEXT_MAX - length, "%%%u",
				scope_of(sockaddr));
		return buffer;
	case AF_VSOCK:
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "vsock:%u",
			((const struct sockaddr_vm *)(const void *)sockaddr)->svm_cid);
		return buffer;
	case AF_UNIX:
		return strcpy(buffer, "unix");
	default:
		return strcpy(buffer, "unknown");
	}
}

/* What stands before the first colon. */
static const char *protocol_name(const struct address *address)
{
	if (address->sockaddr.sa_family == AF_UNIX)
		return address->type == SOCK_STREAM  ? "unix"
		       : address->type == SOCK_DGRAM ? "unix-dgram"
						     : "unix-seqpacket";
	if (address->sockaddr.sa_family == AF_VSOCK)
		return "vsock";
	if (address->protocol == IPPROTO_MPTCP)
		return "mptcp";
	return address->type == SOCK_DGRAM ? "udp" : "tcp";
}

/* What stands between the first colon and the port: "", or something with a colon at its end. */
static const char *format_place(const struct address *address, char *buffer)
{
	char host[ADDRESS_TEXT_MAX];

	*buffer = '\0';
	if (address->sockaddr.sa_family == AF_VSOCK) {
		if (vm_of(address)->svm_cid != VMADDR_CID_ANY)
			(void)snprintf(buffer, ADDRESS_TEXT_MAX, "%u:", vm_of(address)->svm_cid);
	} else if (address->interface[0] != '\0') {
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "%%%s:", address->interface);
	} else if (!address->is_wildcard) {
		(void)snprintf(buffer, ADDRESS_TEXT_MAX,
			address->sockaddr.sa_family == AF_INET ? "%.64s:" : "[%.64s]:",
			address_format_host(&address->sockaddr, host));
	}
	return buffer;
}

const char *address_format(const struct address *address, char *buffer)
{
	char place[ADDRESS_TEXT_MAX];

	if (address->sockaddr.sa_family == AF_UNIX)
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "%s:%.*s", protocol_name(address),
			(int)SUN_PATH_MAX, path_of(address));
	else
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "%s:%.80s%u", protocol_name(address),
			format_place(address, place), address_port(address));
	return buffer;
}

unsigned int address_port(const struct address *address)
{
	switch (address->sockaddr.sa_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
	case AF_VSOCK:
		return vm_of(address)->svm_port;
	default:
		return 0;
	}
}

/* -ENODEV: the socket is bound to an interface that is no more. */
static int read_interface(int fd, struct address *ret)
{
	socklen_t size = sizeof(ret->interface);

	if (ret->sockaddr.sa_family != AF_INET && ret->sockaddr.sa_family != AF_INET6)
		return 0;
	return getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ret->interface, &size) < 0 ? -errno : 0;
}

int address_read(int fd, struct address *ret)
{
	struct address address = {.length = sizeof(address.storage)};
	socklen_t size = sizeof(int);
	int protocol = 0, r;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &address.type, &size) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0 ||
		getsockname(fd, &address.sockaddr, &address.length) < 0)
		return -errno;
	r = read_interface(fd, &address);
	if (r < 0)
		return r;
	address.protocol = protocol == IPPROTO_MPTCP ? protocol : 0;
	*ret = address;
	return 0;
}

/* Addresses of different kinds have nothing to do with each other. */
enum kind {
	KIND_UNIX,
	KIND_INET,
	KIND_VSOCK,
};

static enum kind kind_of(const struct address *address)
{
	switch (address->sockaddr.sa_family) {
	case AF_UNIX:
		return KIND_UNIX;
	case AF_VSOCK:
		return KIND_VSOCK;
	default:
		return KIND_INET;
	}
}

/* 0.0.0.0 or [::], with or without IPv4; VMADDR_CID_ANY. */
static bool is_any(const struct address *address)
{
	switch (address->sockaddr.sa_family) {
	case AF_INET:
		return ((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr ==
		       htonl(INADDR_ANY);
	case AF_INET6:
		return IN6_IS_ADDR_UNSPECIFIED(in6_of(&address->sockaddr));
	case AF_VSOCK:
		return vm_of(address)->svm_cid == VMADDR_CID_ANY;
	default:
		return false;
	}
}

static int compare_numbers(unsigned int a, unsigned int b)
{
	return a < b ? -1 : a > b;
}

/* Of one family, other than AF_UNIX. */
static int compare_hosts(const struct address *a, const struct address *b)
{
	int r;

	if (a->sockaddr.sa_family == AF_VSOCK)
		return compare_numbers(vm_of(a)->svm_cid, vm_of(b)->svm_cid);
	if (a->sockaddr.sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)&a->storage)->sin_addr,
			&((const struct sockaddr_in *)&b->storage)->sin_addr,
			sizeof(struct in_addr));
	r = memcmp(in6_of(&a->sockaddr), in6_of(&b->sockaddr), sizeof(struct in6_addr));
	return r != 0 ? r : compare_numbers(scope_of(&a->sockaddr), scope_of(&b->sockaddr));
}

static int compare_unix(const struct address *a, const struct address *b)
{
	int r = strcmp(path_of(a), path_of(b));

	return r != 0 ? r : compare_numbers((unsigned int)a->type, (unsigned int)b->type);
}

int address_compare(const struct address *a, const struct address *b)
{
	int r;

	if ((r = compare_numbers(kind_of(a), kind_of(b))) != 0)
		return r;
	if (kind_of(a) == KIND_UNIX)
		return compare_unix(a, b);
	if ((r = compare_numbers((unsigned int)a->type, (unsigned int)b->type)) != 0 ||
		(r = compare_numbers(address_port(a), address_port(b))) != 0 ||
		(r = compare_numbers(is_any(b), is_any(a))) != 0 ||
		(r = strcmp(a->interface, b->interface)) != 0 ||
		(r = compare_numbers(a->sockaddr.sa_family, b->sockaddr.sa_family)) != 0 ||
		(r = compare_numbers(a->is_wildcard, b->is_wildcard)) != 0 ||
		(r = compare_hosts(a, b)) != 0)
		return r;
	return compare_numbers((unsigned int)a->protocol, (unsigned int)b->protocol);
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_compare(a, b) == 0;
}

bool address_takes_family(const struct address *address, bool v6only, int family)
{
	return is_any(address) &&
	       (address->sockaddr.sa_family == family ||
		       (address->sockaddr.sa_family == AF_INET6 && family == AF_INET && !v6only));
}

bool address_shares_port(const struct address *a, const struct address *b)
{
	if (kind_of(a) != kind_of(b))
		return false;
	if (kind_of(a) == KIND_UNIX)
		return strcmp(path_of(a), path_of(b)) == 0;
	return a->type == b->type && address_port(a) == address_port(b) && address_port(a) != 0;
}

/* A socket without an interface is on all of them. */
static bool share_interface(const struct address *a, const struct address *b)
{
	return a->interface[0] == '\0' || b->interface[0] == '\0' ||
	       strcmp(a->interface, b->interface) == 0;
}

bool address_conflicts(
	const struct address *a, bool a_v6only, const struct address *b, bool b_v6only)
{
	if (!address_shares_port(a, b) || !share_interface(a, b))
		return false;
	return kind_of(a) == KIND_UNIX ||
	       address_takes_family(a, a_v6only, b->sockaddr.sa_family) ||
	       address_takes_family(b, b_v6only, a->sockaddr.sa_family) ||
	       (a->sockaddr.sa_family == b->sockaddr.sa_family && compare_hosts(a, b) == 0);
}

struct address address_ipv4_any(const struct address *address)
{
	struct address any = *address;
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)address_port(address)),
	};

	memset(&any.storage, 0, sizeof(any.storage));
	memcpy(&any.storage, &in, sizeof(in));
	any.length = sizeof(in);
	return any;
}

static struct address vsock_any(const struct address *address)
{
	struct address any = *address;
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = address_port(address),
	};

	memcpy(&any.storage, &vm, sizeof(vm));
	return any;
}

struct address address_first_of_port(const struct address *address)
{
	struct address first = *address;

	first.is_wildcard = false;
	first.interface[0] = '\0';
	first.protocol = 0;
	switch (kind_of(address)) {
	case KIND_UNIX:
		first.type = 0;
		return first;
	case KIND_VSOCK:
		return vsock_any(&first);
	default:
		return address_ipv4_any(&first);
	}
}

bool address_can_refuse(const struct address *address)
{
	return kind_of(address) == KIND_INET || address->type == SOCK_DGRAM;
}
