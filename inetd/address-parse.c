/* SPDX-License-Identifier: MIT */
/*
 * From text to addresses: see address.h.
 *
 * A text is taken apart from the left ("tcp:" or "unix:"), the host from the port at the last
 * colon.
 */
#include "address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#define MAX_PORT       65535u
#define MAX_VSOCK_PORT (VMADDR_PORT_ANY - 1)
#define MAX_VSOCK_CID  (VMADDR_CID_ANY - 1)
#define SUN_PATH_MAX   (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* What stands before the first colon. */
struct protocol {
	const char *name;
	int family; /* AF_INET: of IPv6 too */
	int type, number;
	const char *services; /* whose names of services(5) its ports may have */
};

static const struct protocol protocols[] = {
	{"tcp", AF_INET, SOCK_STREAM, 0, "tcp"},
	{"udp", AF_INET, SOCK_DGRAM, 0, "udp"},
	{"mptcp", AF_INET, SOCK_STREAM, IPPROTO_MPTCP, "tcp"},
	{"unix", AF_UNIX, SOCK_STREAM, 0, NULL},
	{"unix-dgram", AF_UNIX, SOCK_DGRAM, 0, NULL},
	{"unix-seqpacket", AF_UNIX, SOCK_SEQPACKET, 0, NULL},
	{"vsock", AF_VSOCK, SOCK_STREAM, 0, NULL},
};

/* What is parsed, and where the sentence of a refusal goes. */
struct parser {
	const struct protocol *protocol;
	char *why;
	size_t why_size;
};

struct ports {
	unsigned int first, last;
};

/* Say why a text is refused. Returns -EINVAL, for the caller to return. */
__attribute__((format(printf, 2, 3))) static int refuse(
	struct parser *parser, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(parser->why, parser->why_size, format, args);
	va_end(args);
	return -EINVAL;
}

static bool is_number(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isdigit((unsigned char)text[i]))
			return false;
	return length > 0;
}

static int parse_port_number(
	const char *text, size_t length, unsigned int *ret, struct parser *parser)
{
	unsigned long number = strtoul(text, NULL, 10); /* ULONG_MAX when it is far too large */

	if (number > MAX_PORT)
		return refuse(parser, "port %.*s is out of range, expected 0 to %u", (int)length,
			text, MAX_PORT);
	*ret = (unsigned int)number;
	return 0;
}

static int parse_port_range(
	const char *text, const char *dash, struct ports *ret, struct parser *parser)
{
	struct ports ports = {0};
	int r;

	r = parse_port_number(text, (size_t)(dash - text), &ports.first, parser);
	if (r == 0)
		r = parse_port_number(dash + 1, strlen(dash + 1), &ports.last, parser);
	if (r < 0)
		return r;
	if (ports.first == 0)
		return refuse(parser, "port range %s begins with 0, expected 1 or more", text);
	if (ports.first > ports.last)
		return refuse(parser,
			"port range %s runs backwards, expected the smaller number first", text);
	if (ports.last - ports.first >= ADDRESS_MAX_RANGE)
		return refuse(parser, "port range %s has %u ports, expected at most %d", text,
			ports.last - ports.first + 1, ADDRESS_MAX_RANGE);
	*ret = ports;
	return 0;
}

static int parse_port_name(const char *text, struct ports *ret, struct parser *parser)
{
	const char *services = parser->protocol->services;
	char buffer[1024];
	struct servent entry, *found = NULL;
	int r = getservbyname_r(text, services, &entry, buffer, sizeof(buffer), &found);

	if (r != 0 || !found)
		return refuse(parser,
			"unknown service name '%s', expected %s %s name of services(5), a number, "
			"or a range as in 8000-8010",
			text, *services == 'u' ? "an" : "a", services);
	ret->first = ret->last = ntohs((uint16_t)found->s_port);
	return 0;
}

static int parse_ports(const char *text, struct ports *ret, struct parser *parser)
{
	const char *dash = strchr(text, '-'), *name = parser->protocol->name;
	int r;

	if (!*text)
		return refuse(parser, "the port is missing, expected %s:PORT or %s:ADDRESS:PORT",
			name, name);
	if (dash && is_number(text, (size_t)(dash - text)) && is_number(dash + 1, strlen(dash + 1)))
		return parse_port_range(text, dash, ret, parser);
	if (!is_number(text, strlen(text)))
		return parse_port_name(text, ret, parser);
	r = parse_port_number(text, strlen(text), &ret->first, parser);
	if (r == 0)
		ret->last = ret->first;
	return r;
}

static int parse_ipv4(const char *host, struct address *ret, struct parser *parser)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->storage;

	if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
		return refuse(parser,
			"bad IPv4 address '%s', expected four numbers as in 192.0.2.1", host);
	in->sin_family = AF_INET;
	ret->length = sizeof(*in);
	return 0;
}

/*
 * Link-local addresses exist once on each interface: they need its name or number, and no others
 * do.
 */
static int parse_scope(const char *scope, struct sockaddr_in6 *in6, struct parser *parser)
{
	bool is_link_local = IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr);

	if (!scope)
		return is_link_local ? refuse(parser, "a link-local address needs its interface, "
						      "expected one as in [fe80::1%%eth0]")
				     : 0;
	if (!is_link_local)
		return refuse(parser,
			"only link-local addresses have an interface, expected nothing "
			"after the address instead of '%%%s'",
			scope);
	in6->sin6_scope_id = if_nametoindex(scope);
	if (in6->sin6_scope_id == 0 && is_number(scope, strlen(scope))) {
		unsigned long number = strtoul(scope, NULL, 10);

		in6->sin6_scope_id = number <= INT32_MAX ? (uint32_t)number : 0;
	}
	if (in6->sin6_scope_id == 0)
		return refuse(parser,
			"unknown interface '%s', expected a name or number of ip-link(8)", scope);
	return 0;
}

/* `host` is what stands between the brackets; its '%' is overwritten. */
static int parse_ipv6(char *host, struct address *ret, struct parser *parser)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->storage;
	char *scope = strchr(host, '%');

	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		return refuse(
			parser, "bad IPv6 address '%s', expected one as in [2001:db8::1]", host);
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return refuse(parser, "'%s' is an IPv4 address, expected it written as one", host);
	in6->sin6_family = AF_INET6;
	ret->length = sizeof(*in6);
	return parse_scope(scope, in6, parser);
}

static void set_wildcard(struct address *address)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;

	in6->sin6_family = AF_INET6;
	in6->sin6_addr = in6addr_any;
	address->length = sizeof(*in6);
	address->is_wildcard = true;
}

/*
 * "%INTERFACE:PORT", in place. Whether there is such an interface is found out by who binds: it may
 * come later than this text is read.
 */
static int parse_interface(char *text, struct address *ret, char **ret_port, struct parser *parser)
{
	const char *protocol = parser->protocol->name;
	char *name = text + 1, *end = strchr(name, ':');
	size_t length = end ? (size_t)(end - name) : strlen(name);

	if (!end)
		return refuse(parser, "no port after the interface, expected %s:%%INTERFACE:PORT",
			protocol);
	*end = '\0';
	if (length == 0 || length >= sizeof(ret->interface) || strpbrk(name, "/ \t"))
		return refuse(parser,
			"bad interface '%s', expected a name of ip-link(8) as in %s:%%eth0:PORT",
			name, protocol);
	memcpy(ret->interface, name, length + 1);
	*ret_port = end + 1;
	set_wildcard(ret);
	return 0;
}

static int parse_bracketed(char *text, struct address *ret, char **ret_port, struct parser *parser)
{
	const char *protocol = parser->protocol->name;
	char *end = strchr(text, ']');

	if (!end)
		return refuse(parser, "missing ']', expected %s:[ADDRESS]:PORT", protocol);
	if (end[1] != ':')
		return refuse(parser, "no port after ']', expected %s:[ADDRESS]:PORT", protocol);
	*end = '\0';
	*ret_port = end + 2;
	return parse_ipv6(text + 1, ret, parser);
}

/* Take "[HOST]:PORT", "HOST:PORT", "%INTERFACE:PORT" or "PORT" apart, in place; *ret_port points
 * into `text`. */
static int parse_host(char *text, struct address *ret, char **ret_port, struct parser *parser)
{
	char *end = strrchr(text, ':');

	if (*text == '[')
		return parse_bracketed(text, ret, ret_port, parser);
	if (*text == '%')
		return parse_interface(text, ret, ret_port, parser);
	if (!end) {
		*ret_port = text;
		set_wildcard(ret);
		return 0;
	}
	if (strchr(text, ':') != end)
		return refuse(parser,
			"an IPv6 address without brackets, expected %s:[ADDRESS]:PORT",
			parser->protocol->name);
	*end = '\0';
	*ret_port = end + 1;
	return parse_ipv4(text, ret, parser);
}

static void set_port(struct address *address, unsigned int port)
{
	if (address->sockaddr.sa_family == AF_INET)
		((struct sockaddr_in *)&address->storage)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)&address->storage)->sin6_port = htons((uint16_t)port);
}

static struct address address_of(const struct protocol *protocol)
{
	return (struct address){.type = protocol->type, .protocol = protocol->number};
}

/* `text` is what follows "tcp:"; it is taken apart in place. */
static int parse_inet(char *text, struct address **ret, size_t *ret_n, struct parser *parser)
{
	struct address address = address_of(parser->protocol), *addresses;
	struct ports ports = {0};
	size_t n;
	char *port = NULL;
	int r;

	r = parse_host(text, &address, &port, parser);
	if (r == 0)
		r = parse_ports(port, &ports, parser);
	if (r < 0)
		return r;
	n = ports.last - ports.first + 1;
	addresses = calloc(n, sizeof(*addresses));
	if (!addresses)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		addresses[i] = address;
		set_port(&addresses[i], ports.first + i);
	}
	*ret = addresses;
	*ret_n = n;
	return 0;
}

/* One address, for the caller: `sockaddr` has `length` bytes. */
static int return_one(const struct protocol *protocol, const void *sockaddr, size_t length,
	struct address **ret, size_t *ret_n)
{
	struct address *address = calloc(1, sizeof(*address));

	if (!address)
		return -ENOMEM;
	*address = address_of(protocol);
	memcpy(&address->storage, sockaddr, length);
	address->length = (socklen_t)length;
	*ret = address;
	*ret_n = 1;
	return 0;
}

static int parse_unix(const char *path, struct address **ret, size_t *ret_n, struct parser *parser)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t length = strlen(path);

	if (*path != '/')
		return refuse(parser, "the path '%s' is not absolute, expected %s:/PATH", path,
			parser->protocol->name);
	if (length > SUN_PATH_MAX)
		return refuse(parser, "the path has %zu bytes, expected at most %zu (unix(7))",
			length, SUN_PATH_MAX);
	if (path[length - 1] == '/')
		return refuse(
			parser, "the path '%s' is a folder, expected the name of a socket", path);
	memcpy(un.sun_path, path, length + 1);
	return return_one(parser->protocol, &un,
		offsetof(struct sockaddr_un, sun_path) + length + 1, ret, ret_n);
}

/* What stands in `text` up to its `length`th byte, from `least` to `most`. */
static int parse_vsock_number(const char *text, size_t length, const char *what, uint32_t least,
	uint32_t most, uint32_t *ret, struct parser *parser)
{
	unsigned long number = strtoul(text, NULL, 10); /* ULONG_MAX when it is far too large */

	if (!is_number(text, length) || number < least || number > most)
		return refuse(parser, "bad %s '%.*s', expected a number from %u to %u", what,
			(int)length, text, least, most);
	*ret = (uint32_t)number;
	return 0;
}

/* `text` is what follows "vsock:". */
static int parse_vsock(const char *text, struct address **ret, size_t *ret_n, struct parser *parser)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	const char *colon = strchr(text, ':'), *port = colon ? colon + 1 : text;
	int r = 0;

	if (colon)
		r = parse_vsock_number(text, (size_t)(colon - text), "context", 0, MAX_VSOCK_CID,
			&vm.svm_cid, parser);
	if (r == 0)
		r = parse_vsock_number(
			port, strlen(port), "port", 1, MAX_VSOCK_PORT, &vm.svm_port, parser);
	return r < 0 ? r : return_one(parser->protocol, &vm, sizeof(vm), ret, ret_n);
}

/* The protocol that `text` begins with, or NULL; *ret_rest is what follows its colon. */
static const struct protocol *find_protocol(const char *text, const char **ret_rest)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(*protocols); i++) {
		size_t length = strlen(protocols[i].name);

		if (strncmp(text, protocols[i].name, length) == 0 && text[length] == ':') {
			*ret_rest = text + length + 1;
			return &protocols[i];
		}
	}
	return NULL;
}

int address_parse(
	const char *text, struct address **ret_addresses, size_t *ret_n, char *why, size_t why_size)
{
	const char *rest = NULL;
	struct parser parser = {
		.protocol = find_protocol(text, &rest), .why = why, .why_size = why_size};
	char *copy;
	int r;

	if (!parser.protocol)
		return refuse(&parser,
			"unknown protocol in '%s', expected tcp:, udp:, mptcp:, unix:, "
			"unix-dgram:, unix-seqpacket: or vsock:",
			text);
	if (parser.protocol->family == AF_UNIX)
		return parse_unix(rest, ret_addresses, ret_n, &parser);
	if (parser.protocol->family == AF_VSOCK)
		return parse_vsock(rest, ret_addresses, ret_n, &parser);
	copy = strdup(rest);
	if (!copy)
		return -ENOMEM;
	r = parse_inet(copy, ret_addresses, ret_n, &parser);
	free(copy);
	return r;
}
