/* SPDX-License-Identifier: MIT */
/*
 * Places to listen of usher.conf(5). Addresses are address.h's; here are names of hosts, which
 * stand for all the addresses that they have, or with "tcp4:" and "tcp6:" for those of one family.
 */
#include "config-private.h"

#include "names.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HOST_BYTES	253
#define LETTERS		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define HOST_CHARACTERS LETTERS "0123456789-._"

/* What a name can be written after, and what address_parse() takes instead of both. */
static const struct form {
	const char *before, *instead;
} forms[] = {
	{"tcp:", "tcp:"},
	{"tcp4:", "tcp:0.0.0.0:"},
	{"tcp6:", "tcp:[::]:"},
	{"udp:", "udp:"},
	{"udp4:", "udp:0.0.0.0:"},
	{"udp6:", "udp:[::]:"},
	{"mptcp:", "mptcp:"},
	{"mptcp4:", "mptcp:0.0.0.0:"},
	{"mptcp6:", "mptcp:[::]:"},
};

/* The length of the name that is here, before a colon; 0: none. 10.0.0.256 is no name. */
static size_t host_length(const char *text)
{
	size_t length = strspn(text, HOST_CHARACTERS);

	if (text[length] != ':' || length > MAX_HOST_BYTES || strcspn(text, LETTERS) > length)
		return 0;
	return length;
}

static const struct form *find_form(const char *text)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (strncmp(text, forms[i].before, strlen(forms[i].before)) == 0)
			return &forms[i];
	return NULL;
}

/* Take the name out of "tcp:NAME:PORT": *ret_rest, allocated, has none. *ret_host is NULL if there
 * was none before either. Returns whether there was memory. */
static bool split_host(const char *text, char **ret_host, char **ret_rest)
{
	const struct form *form = find_form(text);
	const char *host = form ? text + strlen(form->before) : text;
	size_t length = form ? host_length(host) : 0;

	*ret_host = NULL;
	if (length == 0) {
		*ret_rest = strdup(text);
		return *ret_rest;
	}
	*ret_rest = malloc(strlen(form->instead) + strlen(host + length));
	*ret_host = strndup(host, length);
	if (*ret_rest && *ret_host) {
		strcat(strcpy(*ret_rest, form->instead), host + length + 1);
		return true;
	}
	free(*ret_rest);
	free(*ret_host);
	return false;
}

static void done_listen(void *element)
{
	struct config_listen *listen = element;

	free(listen->host);
	listen->host = NULL;
}

static bool copy_listen(void *element)
{
	struct config_listen *listen = element;

	if (!listen->host)
		return true;
	listen->host = strdup(listen->host);
	return listen->host;
}

static struct config_listen *make_listens(
	const struct address *addresses, size_t n, char *host, struct config_place place)
{
	struct config_listen *listens = calloc(n, sizeof(*listens));

	for (size_t i = 0; listens && i < n; i++) {
		listens[i] = (struct config_listen){addresses[i], host, place.file, place.line};
		if (copy_listen(&listens[i]))
			continue;
		while (i-- > 0)
			done_listen(&listens[i]);
		free(listens);
		return NULL;
	}
	return listens;
}

static bool expand_listen(const struct config_key *key, const struct config_input *input,
	void **ret, size_t *ret_n, char *why)
{
	char sentence[CONFIG_WHY_SIZE], *host, *text;
	struct address *addresses;
	int r;

	if (!split_host(input->text, &host, &text))
		return false;
	r = address_parse(text, &addresses, ret_n, sentence, sizeof(sentence));
	if (r == 0) {
		*ret = make_listens(addresses, *ret_n, host, input->place);
		free(addresses);
	} else if (r != -ENOMEM) {
		config_refuse(why, "%s: %.480s", key->name, sentence);
	}
	free(host);
	free(text);
	return r == 0 && *ret;
}

static bool is_equal_listen(const void *a, const void *b)
{
	const struct config_listen *one = a, *other = b;

	if (!one->host != !other->host || (one->host && strcmp(one->host, other->host) != 0))
		return false;
	return address_equal(&one->address, &other->address);
}

const struct config_type config_type_listen = {
	.is_list = true,
	.element_size = sizeof(struct config_listen),
	.expand = expand_listen,
	.copy = copy_listen,
	.done = done_listen,
	.is_equal = is_equal_listen,
};

size_t config_most_listeners(const struct config_service *service)
{
	size_t n = 0;

	for (size_t i = 0; i < service->n_listen; i++)
		n += service->listen[i].host ? NAMES_MAX_ADDRESSES : 1;
	return n;
}

bool config_listen_has_names(const struct config_service *service)
{
	for (size_t i = 0; i < service->n_listen; i++)
		if (service->listen[i].host)
			return true;
	return false;
}

/* A network of networks(5) is no place to listen; a link-local address were one with an interface.
 */
static bool is_wanted(const struct config_listen *listen, const struct network *network)
{
	bool is_ipv4 = network->family == AF_INET;

	if (network->n_bits < (is_ipv4 ? 32 : 128))
		return false;
	if (!is_ipv4 && network->address[0] == 0xfe && (network->address[1] & 0xc0) == 0x80)
		return false;
	return listen->address.is_wildcard || listen->address.sockaddr.sa_family == network->family;
}

/* The same port at that address. */
static struct address address_at(const struct address *any, const struct network *network)
{
	struct address address = address_ipv4_any(any);
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons((uint16_t)address_port(any)),
	};

	address.is_wildcard = false;
	if (network->family == AF_INET) {
		memcpy(&((struct sockaddr_in *)&address.storage)->sin_addr, network->address,
			sizeof(struct in_addr));
		return address;
	}
	memcpy(&in6.sin6_addr, network->address, sizeof(in6.sin6_addr));
	memcpy(&address.storage, &in6, sizeof(in6));
	address.length = sizeof(in6);
	return address;
}

static bool has_address(const struct config_service *service, const struct address *address)
{
	for (size_t i = 0; i < service->n_listen; i++)
		if (!service->listen[i].host && address_equal(&service->listen[i].address, address))
			return true;
	return false;
}

static void add_address(struct config_service *service, const struct config_listen *from,
	const struct network *network, struct config_errors *errors)
{
	struct config_listen *added, listen = *from;

	listen.host = NULL;
	listen.address = address_at(&from->address, network);
	if (has_address(service, &listen.address))
		return; /* two names of one host, or a name and its address */
	added = config_array_add(&service->listen, &service->n_listen, sizeof(*added), errors);
	if (added)
		*added = listen;
}

static void report(const struct config_listen *listen, const struct names_answer *answer,
	size_t n_found, struct config_errors *errors)
{
	const struct config_place place = {listen->file, listen->line};

	if (n_found == 0)
		config_errors_add(errors, place,
			"listen: the name '%s' has no address that can be listened on: %s, "
			"expected another name, or an address",
			listen->host,
			answer->why ? answer->why : "it has others only, or is a network");
	else if (answer->has_more)
		config_warnings_add(errors, place,
			"listen: '%s' has more than %d addresses, the others are left out",
			listen->host, NAMES_MAX_ADDRESSES);
}

static void resolve(struct config_service *service, const struct config_listen *listen,
	struct names *names, struct config_errors *errors)
{
	const struct names_answer *answer = names_find(names, listen->host);
	size_t n_found = 0;

	for (size_t i = 0; i < answer->n_networks; i++) {
		if (!is_wanted(listen, &answer->networks[i]))
			continue;
		add_address(service, listen, &answer->networks[i], errors);
		n_found++;
	}
	report(listen, answer, n_found, errors);
}

/* Addresses first: they keep their places. */
void config_listen_resolve(
	struct config_service *service, struct names *names, struct config_errors *errors)
{
	struct config_listen *listens = service->listen, *added;
	size_t n = service->n_listen;

	service->listen = NULL;
	service->n_listen = 0;
	for (size_t i = 0; i < n; i++) {
		if (listens[i].host)
			continue;
		added = config_array_add(
			&service->listen, &service->n_listen, sizeof(*added), errors);
		if (added)
			*added = listens[i];
	}
	for (size_t i = 0; i < n; i++) {
		if (listens[i].host)
			resolve(service, &listens[i], names, errors);
		done_listen(&listens[i]);
	}
	free(listens);
}
