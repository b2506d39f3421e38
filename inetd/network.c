/* SPDX-License-Identifier: MIT */
/*
 * Networks: see network.h.
 *
 * A text with a colon is IPv6, one of digits and dots IPv4, and what is left may be a name. The
 * factors of "192.0.2.{1,2}" are put in one after the other, and each result is read like any other
 * text.
 */
#include "network.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IPV4_BITS   32u
#define IPV6_BITS   128u
#define MAPPED_BITS 96u /* the prefix of IPv4-mapped addresses: RFC 4291, 2.5.5.2 */
#define IPV4_PARTS  4u

/* Longest text that is looked at: more than any address, or name (RFC 1035, 2.3.4), has. */
#define TEXT_MAX 255u

/* The sentence of a refusal, and where it goes. */
struct why {
	char *text;
	size_t size;
};

/* Networks as they are found. */
struct found {
	struct network *networks; /* of NETWORK_MAX_FACTORS */
	size_t n;
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

static void clear_host_bits(struct network *network)
{
	for (size_t i = 0; i < sizeof(network->address); i++) {
		size_t n_kept = network->n_bits > 8 * i ? network->n_bits - 8 * i : 0;

		if (n_kept < 8)
			network->address[i] &= (uint8_t)(0xff00u >> n_kept);
	}
}

/* A decimal number of at most `most` that is all of `length` bytes, without zeros before it: some
 * programs read "010" as 8. */
static bool read_number(const char *text, size_t length, unsigned int most, unsigned int *ret)
{
	unsigned int number = 0;

	if (length == 0 || length > 3 || (length > 1 && *text == '0'))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		number = 10 * number + (unsigned int)(text[i] - '0');
	}
	if (number > most)
		return false;
	*ret = number;
	return true;
}

/* "255.255.0.0" as 16. */
static bool read_mask(const char *text, unsigned int *ret)
{
	struct in_addr address;
	uint32_t mask;

	if (inet_pton(AF_INET, text, &address) != 1)
		return false;
	mask = ntohl(address.s_addr);
	if ((~mask & (~mask + 1)) != 0) /* ones after a zero */
		return false;
	*ret = (unsigned int)__builtin_popcount(mask);
	return true;
}

/* The parts of an IPv4 address, from one to four, maybe with a dot at the end. Returns how many, or
 * 0: it is none. */
static size_t read_parts(const char *text, size_t length, uint8_t *ret)
{
	const char *end = text + length;
	size_t n = 0;

	while (text < end && n < IPV4_PARTS) {
		const char *dot = memchr(text, '.', (size_t)(end - text));
		unsigned int part;

		if (!read_number(text, (size_t)((dot ? dot : end) - text), 255, &part))
			return 0;
		ret[n++] = (uint8_t)part;
		if (!dot)
			return n;
		text = dot + 1;
	}
	return text == end && n < IPV4_PARTS ? n : 0;
}

/* How much of an IPv4 address without a length is the network, as xinetd.conf(5) has it. */
static unsigned int implied_bits(const struct network *network, size_t n_parts)
{
	if (n_parts == IPV4_PARTS)
		while (n_parts > 0 && network->address[n_parts - 1] == 0)
			n_parts--;
	return (unsigned int)n_parts * 8;
}

static int parse_ipv4(const char *text, struct network *ret, struct why *why)
{
	struct network network = {.family = AF_INET};
	const char *slash = strchr(text, '/');
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	size_t n_parts = read_parts(text, length, network.address);
	unsigned int n_bits;

	if (n_parts == 0)
		return refuse(why,
			"bad IPv4 address '%s', expected numbers from 0 to 255, as in 192.0.2.1, "
			"192.0.2.0/24 or 192.0.2.{1,2}",
			text);
	if (!slash && n_parts == 1 && text[length - 1] != '.')
		return refuse(why, "unclear address '%s', expected a network as in %s.0.0.0/8",
			text, text);
	if (!slash)
		n_bits = implied_bits(&network, n_parts);
	else if (!read_number(slash + 1, strlen(slash + 1), IPV4_BITS, &n_bits) &&
		 !read_mask(slash + 1, &n_bits))
		return refuse(why,
			"bad length in '%s', expected 0 to %u bits after the '/', or a mask as in "
			"/255.255.255.0",
			text, IPV4_BITS);
	network.n_bits = (uint16_t)n_bits;
	clear_host_bits(&network);
	*ret = network;
	return 0;
}

/* An IPv4-mapped network is the network of IPv4 itself. */
static int unmap(struct network *network, const char *text, struct why *why)
{
	if (network->n_bits < MAPPED_BITS)
		return refuse(why,
			"'%s' has an IPv4-mapped address and less than %u bits, expected the "
			"network of IPv4 itself, as in 192.0.2.0/24",
			text, MAPPED_BITS);
	network->family = AF_INET;
	network->n_bits = (uint16_t)(network->n_bits - MAPPED_BITS);
	memmove(network->address, network->address + MAPPED_BITS / 8, IPV4_BITS / 8);
	memset(network->address + IPV4_BITS / 8, 0, sizeof(network->address) - IPV4_BITS / 8);
	return 0;
}

static int parse_ipv6(const char *text, struct network *ret, struct why *why)
{
	struct network network = {.family = AF_INET6};
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN];
	unsigned int n_bits = IPV6_BITS;
	struct in6_addr address;
	int r = snprintf(
		host, sizeof(host), "%.*s", slash ? (int)(slash - text) : (int)TEXT_MAX, text);

	if (strchr(text, '%'))
		return refuse(why,
			"'%s' names an interface, expected an address without: rules are for all "
			"interfaces",
			text);
	if (r < 0 || (size_t)r >= sizeof(host) || inet_pton(AF_INET6, host, &address) != 1)
		return refuse(why,
			"bad IPv6 address '%s', expected one as in 2001:db8::1 or 2001:db8::/32",
			text);
	if (slash && !read_number(slash + 1, strlen(slash + 1), IPV6_BITS, &n_bits))
		return refuse(why, "bad length in '%s', expected 0 to %u bits after the '/'", text,
			IPV6_BITS);
	memcpy(network.address, &address, sizeof(address));
	network.n_bits = (uint16_t)n_bits;
	r = IN6_IS_ADDR_V4MAPPED(&address) ? unmap(&network, text, why) : 0;
	if (r < 0)
		return r;
	clear_host_bits(&network);
	*ret = network;
	return 0;
}

static int refuse_factors(const char *text, struct why *why)
{
	return refuse(why,
		"unclear braces in '%s', expected them at the end of an IPv4 address, around 1 to "
		"%d numbers, as in 192.0.2.{1,2,64}",
		text, NETWORK_MAX_FACTORS);
}

/* `text` has a '{' at `brace`. */
static int parse_factors(const char *text, const char *brace, struct found *found, struct why *why)
{
	const char *factor = brace + 1, *end;

	if (brace == text || brace[-1] != '.')
		return refuse_factors(text, why);
	do {
		size_t length = strcspn(factor, ",}");
		char one[TEXT_MAX + 1];
		unsigned int part;
		int r;

		end = factor + length;
		if (*end == '\0' || found->n == NETWORK_MAX_FACTORS ||
			!read_number(factor, length, 255, &part))
			return refuse_factors(text, why);
		(void)snprintf(one, sizeof(one), "%.*s%u", (int)(brace - text), text, part);
		r = parse_ipv4(one, &found->networks[found->n++], why);
		if (r < 0)
			return r;
		factor = end + 1;
	} while (*end == ',');
	return *factor == '\0' ? 0 : refuse_factors(text, why);
}

/* Could the text be the name of a host, a domain (".example.org") or a network? */
static bool is_name(const char *text)
{
	bool has_letter = false;

	for (const char *at = text; *at; at++) {
		if (isalpha((unsigned char)*at))
			has_letter = true;
		else if (!isdigit((unsigned char)*at) && !strchr("._-", *at))
			return false;
	}
	return has_letter && *text != '-';
}

static int parse_text(const char *text, struct found *found, struct why *why)
{
	const char *brace = strpbrk(text, "{}");

	if (strlen(text) > TEXT_MAX && !brace)
		return refuse(why, "this address has more than %u bytes, expected fewer", TEXT_MAX);
	if (strchr(text, ':'))
		return parse_ipv6(text, &found->networks[found->n++], why);
	if (brace)
		return *brace == '{' ? parse_factors(text, brace, found, why)
				     : refuse_factors(text, why);
	if (isdigit((unsigned char)*text) && text[strspn(text, "0123456789./")] == '\0')
		return parse_ipv4(text, &found->networks[found->n++], why);
	if (is_name(text))
		return 1;
	return refuse(why,
		"'%s' is no address, expected one as in 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32",
		text);
}

int network_parse(
	const char *text, struct network **ret_networks, size_t *ret_n, char *why, size_t why_size)
{
	struct found found = {calloc(NETWORK_MAX_FACTORS, sizeof(*found.networks)), 0};
	struct network *shrunk;
	int r;

	if (!found.networks)
		return -ENOMEM;
	r = parse_text(text, &found, &(struct why){why, why_size});
	if (r != 0) {
		free(found.networks);
		return r;
	}
	shrunk = reallocarray(found.networks, found.n, sizeof(*shrunk));
	*ret_networks = shrunk ? shrunk : found.networks;
	*ret_n = found.n;
	return 0;
}

struct network network_of(const struct wire_address *address, unsigned int n_bits)
{
	struct network network = {.family = address->family, .n_bits = (uint16_t)n_bits};

	assert(address->family == AF_INET || address->family == AF_INET6);
	assert(n_bits <= (address->family == AF_INET ? IPV4_BITS : IPV6_BITS));
	memcpy(network.address, address->address, sizeof(network.address));
	clear_host_bits(&network);
	return network;
}

bool network_is_valid(const struct network *network)
{
	struct wire_address address = {.family = network->family};
	struct network again;

	if ((network->family != AF_INET || network->n_bits > 32) &&
		(network->family != AF_INET6 || network->n_bits > 128))
		return false;
	memcpy(address.address, network->address, sizeof(address.address));
	again = network_of(&address, network->n_bits);
	return network_compare(&again, network) == 0;
}

bool network_contains(const struct network *network, const struct wire_address *address)
{
	struct network other;

	if (network->family != address->family)
		return false;
	other = network_of(address, network->n_bits);
	return memcmp(network->address, other.address, sizeof(other.address)) == 0;
}

int network_compare(const struct network *a, const struct network *b)
{
	int r;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	r = memcmp(a->address, b->address, sizeof(a->address));
	if (r != 0)
		return r;
	return (a->n_bits > b->n_bits) - (a->n_bits < b->n_bits);
}

const char *network_format(const struct network *network, char *buffer)
{
	unsigned int most = network->family == AF_INET ? IPV4_BITS : IPV6_BITS;
	size_t length;

	if (!inet_ntop(network->family, network->address, buffer, NETWORK_TEXT_MAX))
		*buffer = '\0'; /* cannot be: both families fit */
	length = strlen(buffer);
	if (network->n_bits != most)
		(void)snprintf(buffer + length, NETWORK_TEXT_MAX - length, "/%u", network->n_bits);
	return buffer;
}
