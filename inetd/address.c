/* SPDX-License-Identifier: MIT */
/*
 * Addresses: see address.h.
 *
 * A text is taken apart from the left ("tcp:" or "unix:"), the host from the port at the last
 * colon. Comparing knows how Linux binds: a wildcard address takes the port of every address it
 * includes.
 */
#include "address.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define MAX_PORT     65535u
#define SUN_PATH_MAX (sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1)

/* The sentence of a refusal, and where it goes. */
struct why {
	char *text;
	size_t size;
};

struct ports {
	unsigned int first, last;
};

/* Say why a text is refused. Returns -EINVAL, for the caller to return. */
__attribute__((format(printf, 2, 3))) static int refuse(struct why *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why->text, why->size, format, args);
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

static int parse_port_number(const char *text, size_t length, unsigned int *ret, struct why *why)
{
	unsigned long number = strtoul(text, NULL, 10); /* ULONG_MAX when it is far too large */

	if (number > MAX_PORT)
		return refuse(why, "port %.*s is out of range, expected 0 to %u", (int)length, text,
			MAX_PORT);
	*ret = (unsigned int)number;
	return 0;
}

static int parse_port_range(const char *text, const char *dash, struct ports *ret, struct why *why)
{
	struct ports ports = {0};
	int r;

	r = parse_port_number(text, (size_t)(dash - text), &ports.first, why);
	if (r == 0)
		r = parse_port_number(dash + 1, strlen(dash + 1), &ports.last, why);
	if (r < 0)
		return r;
	if (ports.first == 0)
		return refuse(why, "port range %s begins with 0, expected 1 or more", text);
	if (ports.first > ports.last)
		return refuse(why,
			"port range %s runs backwards, expected the smaller number first", text);
	if (ports.last - ports.first >= ADDRESS_MAX_RANGE)
		return refuse(why, "port range %s has %u ports, expected at most %d", text,
			ports.last - ports.first + 1, ADDRESS_MAX_RANGE);
	*ret = ports;
	return 0;
}

static int parse_port_name(const char *text, struct ports *ret, struct why *why)
{
	char buffer[1024];
	struct servent entry, *found = NULL;
	int r = getservbyname_r(text, "tcp", &entry, buffer, sizeof(buffer), &found);

	if (r != 0 || !found)
		return refuse(why,
			"unknown service name '%s', expected a tcp name of services(5), a number, "
			"or a range as in 8000-8010",
			text);
	ret->first = ret->last = ntohs((uint16_t)found->s_port);
	return 0;
}

static int parse_ports(const char *text, struct ports *ret, struct why *why)
{
	const char *dash = strchr(text, '-');
	int r;

	if (!*text)
		return refuse(why, "the port is missing, expected tcp:PORT or tcp:ADDRESS:PORT");
	if (dash && is_number(text, (size_t)(dash - text)) && is_number(dash + 1, strlen(dash + 1)))
		return parse_port_range(text, dash, ret, why);
	if (!is_number(text, strlen(text)))
		return parse_port_name(text, ret, why);
	r = parse_port_number(text, strlen(text), &ret->first, why);
	if (r == 0)
		ret->last = ret->first;
	return r;
}

static int parse_ipv4(const char *host, struct address *ret, struct why *why)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ret->storage;

	if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
		return refuse(why,
			"bad IPv4 address '%s', expected four numbers as in 192.0.2.1 (host names "
			"are not looked up)",
			host);
	in->sin_family = AF_INET;
	ret->length = sizeof(*in);
	return 0;
}

/*
 * Link-local addresses exist once on each interface: they need its name or number, and no others
 * do.
 */
static int parse_scope(const char *scope, struct sockaddr_in6 *in6, struct why *why)
{
	bool is_link_local = IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr);

	if (!scope)
		return is_link_local ? refuse(why, "a link-local address needs its interface, "
						   "expected one as in [fe80::1%%eth0]")
				     : 0;
	if (!is_link_local)
		return refuse(why,
			"only link-local addresses have an interface, expected nothing "
			"after the address instead of '%%%s'",
			scope);
	in6->sin6_scope_id = if_nametoindex(scope);
	if (in6->sin6_scope_id == 0 && is_number(scope, strlen(scope))) {
		unsigned long number = strtoul(scope, NULL, 10);

		in6->sin6_scope_id = number <= INT32_MAX ? (uint32_t)number : 0;
	}
	if (in6->sin6_scope_id == 0)
		return refuse(why,
			"unknown interface '%s', expected a name or number of ip-link(8)", scope);
	return 0;
}

/* `host` is what stands between the brackets; its '%' is overwritten. */
static int parse_ipv6(char *host, struct address *ret, struct why *why)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->storage;
	char *scope = strchr(host, '%');

	if (scope)
		*scope++ = '\0';
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
		return refuse(why, "bad IPv6 address '%s', expected one as in [2001:db8::1]", host);
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return refuse(why, "'%s' is an IPv4 address, expected it written as one", host);
	in6->sin6_family = AF_INET6;
	ret->length = sizeof(*in6);
	return parse_scope(scope, in6, why);
}

static void set_wildcard(struct address *address)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address->storage;

	in6->sin6_family = AF_INET6;
	in6->sin6_addr = in6addr_any;
	address->length = sizeof(*in6);
	address->is_wildcard = true;
}

/* Take "[HOST]:PORT", "HOST:PORT" or "PORT" apart, in place; *ret_port points into `text`. */
static int parse_host(char *text, struct address *ret, char **ret_port, struct why *why)
{
	char *end = *text == '[' ? strchr(text, ']') : strrchr(text, ':');

	if (*text == '[') {
		if (!end)
			return refuse(why, "missing ']', expected tcp:[ADDRESS]:PORT");
		if (end[1] != ':')
			return refuse(why, "no port after ']', expected tcp:[ADDRESS]:PORT");
		*end = '\0';
		*ret_port = end + 2;
		return parse_ipv6(text + 1, ret, why);
	}
	if (!end) {
		*ret_port = text;
		set_wildcard(ret);
		return 0;
	}
	if (strchr(text, ':') != end)
		return refuse(why, "an IPv6 address without brackets, expected tcp:[ADDRESS]:PORT");
	*end = '\0';
	*ret_port = end + 1;
	return parse_ipv4(text, ret, why);
}

static void set_port(struct address *address, unsigned int port)
{
	if (address->sockaddr.sa_family == AF_INET)
		((struct sockaddr_in *)&address->storage)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)&address->storage)->sin6_port = htons((uint16_t)port);
}

/* `text` is what follows "tcp:"; it is taken apart in place. */
static int parse_tcp(char *text, struct address **ret, size_t *ret_n, struct why *why)
{
	struct address address = {.type = SOCK_STREAM}, *addresses;
	struct ports ports = {0};
	size_t n;
	char *port = NULL;
	int r;

	r = parse_host(text, &address, &port, why);
	if (r == 0)
		r = parse_ports(port, &ports, why);
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

static int parse_unix(const char *path, struct address **ret, size_t *ret_n, struct why *why)
{
	size_t length = strlen(path);
	struct sockaddr_un *un;
	struct address *address;

	if (*path != '/')
		return refuse(why, "the path '%s' is not absolute, expected unix:/PATH", path);
	if (length > SUN_PATH_MAX)
		return refuse(why, "the path has %zu bytes, expected at most %zu (unix(7))", length,
			SUN_PATH_MAX);
	if (path[length - 1] == '/')
		return refuse(
			why, "the path '%s' is a folder, expected the name of a socket", path);
	address = calloc(1, sizeof(*address));
	if (!address)
		return -ENOMEM;
	un = (struct sockaddr_un *)&address->storage;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, length + 1);
	address->type = SOCK_STREAM;
	address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	*ret = address;
	*ret_n = 1;
	return 0;
}

int address_parse(const char *text, struct address **ret_addresses, size_t *ret_n, char *why_text,
	size_t why_size)
{
	struct why why = {.text = why_text, .size = why_size};
	char *copy;
	int r;

	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret_addresses, ret_n, &why);
	if (strncmp(text, "tcp:", 4) != 0)
		return refuse(&why,
			"unknown protocol in '%s', expected tcp:PORT, tcp:ADDRESS:PORT or "
			"unix:/PATH",
			text);
	copy = strdup(text + 4);
	if (!copy)
		return -ENOMEM;
	r = parse_tcp(copy, ret_addresses, ret_n, &why);
	free(copy);
	return r;
}

static const struct in6_addr *in6_of(const struct sockaddr *sockaddr)
{
	return &((const struct sockaddr_in6 *)(const void *)sockaddr)->sin6_addr;
}

static uint32_t scope_of(const struct sockaddr *sockaddr)
{
	return ((const struct sockaddr_in6 *)(const void *)sockaddr)->sin6_scope_id;
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
	case AF_UNIX:
		return strcpy(buffer, "unix");
	default:
		return strcpy(buffer, "unknown");
	}
}

const char *address_format(const struct address *address, char *buffer)
{
	char host[ADDRESS_TEXT_MAX];
	unsigned int port = address_port(address);

	if (address->is_wildcard)
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "tcp:%u", port);
	else if (address->sockaddr.sa_family == AF_UNIX)
		(void)snprintf(
			buffer, ADDRESS_TEXT_MAX, "unix:%.*s", (int)SUN_PATH_MAX, path_of(address));
	else if (address->sockaddr.sa_family == AF_INET)
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "tcp:%.64s:%u",
			address_format_host(&address->sockaddr, host), port);
	else
		(void)snprintf(buffer, ADDRESS_TEXT_MAX, "tcp:[%.64s]:%u",
			address_format_host(&address->sockaddr, host), port);
	return buffer;
}

unsigned int address_port(const struct address *address)
{
	switch (address->sockaddr.sa_family) {
	case AF_INET:
		return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
	case AF_INET6:
		return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
	default:
		return 0;
	}
}

/* 0.0.0.0 or [::], with or without IPv4. */
static bool is_any(const struct address *address)
{
	switch (address->sockaddr.sa_family) {
	case AF_INET:
		return ((const struct sockaddr_in *)&address->storage)->sin_addr.s_addr ==
		       htonl(INADDR_ANY);
	case AF_INET6:
		return IN6_IS_ADDR_UNSPECIFIED(in6_of(&address->sockaddr));
	default:
		return false;
	}
}

static int compare_numbers(unsigned int a, unsigned int b)
{
	return a < b ? -1 : a > b;
}

static int compare_hosts(const struct address *a, const struct address *b)
{
	int r;

	if (a->sockaddr.sa_family == AF_UNIX)
		return strcmp(path_of(a), path_of(b));
	if (a->sockaddr.sa_family == AF_INET)
		return memcmp(&((const struct sockaddr_in *)&a->storage)->sin_addr,
			&((const struct sockaddr_in *)&b->storage)->sin_addr,
			sizeof(struct in_addr));
	r = memcmp(in6_of(&a->sockaddr), in6_of(&b->sockaddr), sizeof(struct in6_addr));
	return r != 0 ? r : compare_numbers(scope_of(&a->sockaddr), scope_of(&b->sockaddr));
}

int address_compare(const struct address *a, const struct address *b)
{
	int r;

	if ((r = compare_numbers((unsigned int)a->type, (unsigned int)b->type)) != 0 ||
		(r = compare_numbers(address_port(a), address_port(b))) != 0 ||
		(r = compare_numbers(is_any(b), is_any(a))) != 0 ||
		(r = compare_numbers(a->sockaddr.sa_family, b->sockaddr.sa_family)) != 0 ||
		(r = compare_numbers(a->is_wildcard, b->is_wildcard)) != 0)
		return r;
	return compare_hosts(a, b);
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

bool address_conflicts(
	const struct address *a, bool a_v6only, const struct address *b, bool b_v6only)
{
	bool is_unix = a->sockaddr.sa_family == AF_UNIX;

	if (a->type != b->type || is_unix != (b->sockaddr.sa_family == AF_UNIX))
		return false;
	if (is_unix)
		return address_equal(a, b);
	if (address_port(a) != address_port(b) || address_port(a) == 0)
		return false;
	if (address_takes_family(a, a_v6only, b->sockaddr.sa_family) ||
		address_takes_family(b, b_v6only, a->sockaddr.sa_family))
		return true;
	return a->sockaddr.sa_family == b->sockaddr.sa_family && compare_hosts(a, b) == 0;
}
