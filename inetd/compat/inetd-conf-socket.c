/* SPDX-License-Identifier: MIT */
/* Service, type and protocol of a line of inetd.conf: see inetd-conf-private.h. */
#include "inetd-conf-private.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HOSTS 64

/* Which addresses "*" is. */
enum family {
	FAMILY_BOTH,   /* IPv4 and IPv6, each with a socket of its own */
	FAMILY_MAPPED, /* both by one socket */
	FAMILY_IPV4,
	FAMILY_IPV6,
	FAMILY_UNIX,
};

struct inetd_protocol {
	const char *name, *type; /* in the line */
	const char *scheme;	 /* of addresses in usher.conf */
	enum family family;
};

static const struct inetd_protocol protocols[] = {
	{"tcp", "stream", "tcp", FAMILY_BOTH},
	{"tcp4", "stream", "tcp", FAMILY_IPV4},
	{"tcp6", "stream", "tcp", FAMILY_IPV6},
	{"tcp6only", "stream", "tcp", FAMILY_IPV6},
	{"tcp46", "stream", "tcp", FAMILY_MAPPED},
	{"udp", "dgram", "udp", FAMILY_BOTH},
	{"udp4", "dgram", "udp", FAMILY_IPV4},
	{"udp6", "dgram", "udp", FAMILY_IPV6},
	{"udp6only", "dgram", "udp", FAMILY_IPV6},
	{"udp46", "dgram", "udp", FAMILY_MAPPED},
	{"unix", "stream", "unix", FAMILY_UNIX},
	{"unix", "dgram", "unix-dgram", FAMILY_UNIX},
	{"unix", "seqpacket", "unix-seqpacket", FAMILY_UNIX},
};

static const struct inetd_protocol *find_protocol(const char *name, const char *type)
{
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (strcmp(protocols[i].name, name) == 0 &&
			(!type || strcmp(protocols[i].type, type) == 0))
			return &protocols[i];
	return NULL;
}

/* Say what to do instead. */
static bool refuse_protocol(struct inetd_conf *conf, const char *name, const char *type)
{
	const struct inetd_protocol *protocol = find_protocol(name, NULL);

	if (strncmp(name, "rpc/", strlen("rpc/")) == 0)
		return inetd_conf_refuse(conf,
			"services of ONC RPC have to be registered with rpcbind, which usher does "
			"not do: run this one as a daemon of its own");
	if (strncmp(name, "faith/", strlen("faith/")) == 0)
		return inetd_conf_refuse(
			conf, "there is no faith(4) on Linux: take \"faith/\" away");
	if (!protocol)
		return inetd_conf_refuse(
			conf, "unknown protocol '%s', expected tcp, udp or unix", name);
	return inetd_conf_refuse(
		conf, "the socket type of %s is '%s', expected %s", name, type, protocol->type);
}

/* PROTOCOL[,SIZE[,SIZE]], tcp/ttcp. */
static bool read_protocol(struct inetd_conf *conf, struct inetd_entry *entry)
{
	char *name = entry->fields[INETD_FIELD_PROTOCOL];
	char *type = entry->fields[INETD_FIELD_TYPE], *slash;

	entry->sizes = inetd_conf_cut(name, ",");
	slash = strchr(name, '/');
	if (slash && strcmp(slash, "/ttcp") == 0) {
		*slash = '\0';
		translation_warn(conf->translation, conf->place,
			"there is no T/TCP on Linux: this is plain TCP");
	}
	entry->protocol = find_protocol(name, type);
	if (!entry->protocol)
		return refuse_protocol(conf, name, type);
	entry->is_stream = strcmp(type, "stream") == 0;
	return true;
}

/* TYPE[,MOST][:FILTER] */
static void read_type(struct inetd_conf *conf, struct inetd_entry *entry)
{
	char *type = entry->fields[INETD_FIELD_TYPE];
	const char *filter = inetd_conf_cut(type, ":");

	entry->most = inetd_conf_cut(type, ",");
	if (filter)
		translation_warn(conf->translation, conf->place,
			"the accept filter '%s' is not set: socket { defer_accept } of "
			"usher.conf(5) does much the same",
			filter);
}

/* [HOST,...:]SERVICE, tcpmux/[+]SERVICE, or a path. */
static bool read_service(struct inetd_conf *conf, struct inetd_entry *entry)
{
	char *field = entry->fields[INETD_FIELD_SERVICE], *colon = strrchr(field, ':');

	entry->hosts = conf->hosts;
	entry->service = field;
	if (entry->protocol->family == FAMILY_UNIX) {
		if (*field != '/')
			return inetd_conf_refuse(
				conf, "'%s' is no absolute path, expected one for unix", field);
		return true;
	}
	if (colon) {
		*colon = '\0';
		entry->hosts = field;
		entry->service = colon + 1;
	}
	if (strncmp(entry->service, "tcpmux/", strlen("tcpmux/")) == 0) {
		entry->is_mux = true;
		entry->service += strlen("tcpmux/");
	}
	if (entry->service[entry->is_mux && *entry->service == '+'] == '\0')
		return inetd_conf_refuse(conf, "there is no service, expected a name or a port");
	return true;
}

bool inetd_entry_read_socket(struct inetd_conf *conf, struct inetd_entry *entry)
{
	read_type(conf, entry);
	if (!read_protocol(conf, entry) || !read_service(conf, entry))
		return false;
	if (entry->is_mux && strcmp(entry->protocol->scheme, "tcp") != 0)
		return inetd_conf_refuse(
			conf, "'%s' is behind tcpmux, expected stream and tcp", entry->service);
	return true;
}

const char *inetd_entry_name(const struct inetd_entry *entry)
{
	const char *slash = strrchr(entry->service, '/');

	if (entry->is_mux)
		return entry->service + (*entry->service == '+');
	if (entry->protocol->family == FAMILY_UNIX && slash[1])
		return slash + 1;
	return entry->service;
}

const char *inetd_entry_suffix(const struct inetd_entry *entry)
{
	return entry->protocol->name;
}

/* "*" is one address or two. */
static void add_any(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_assignment *listen)
{
	const char *scheme = entry->protocol->scheme, *port = entry->service;
	enum family family = entry->protocol->family;

	if (family == FAMILY_MAPPED)
		translation_add_text(conf->translation, listen, "%s:%s", scheme, port);
	if (family == FAMILY_BOTH || family == FAMILY_IPV4)
		translation_add_text(conf->translation, listen, "%s:0.0.0.0:%s", scheme, port);
	if (family == FAMILY_IPV6 || (family == FAMILY_BOTH && conf->facts->has_ipv6))
		translation_add_text(conf->translation, listen, "%s:[::]:%s", scheme, port);
}

/* Does the address belong to the protocol? */
static bool check_family(struct inetd_conf *conf, const struct inetd_entry *entry, const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];
	int other = entry->protocol->family == FAMILY_IPV4   ? AF_INET6
		    : entry->protocol->family == FAMILY_IPV6 ? AF_INET
							     : AF_UNSPEC;

	if (other != AF_UNSPEC && inet_pton(other, host, address) == 1)
		return inetd_conf_refuse(
			conf, "%s is no address of %s", host, entry->protocol->name);
	return true;
}

/* Which of its addresses a name stands for is said before it. */
static void add_name(struct inetd_conf *conf, const struct inetd_entry *entry, const char *name,
	struct translation_assignment *listen)
{
	enum family family = entry->protocol->family;
	bool is_ipv4 = family == FAMILY_IPV4 || (family == FAMILY_BOTH && !conf->facts->has_ipv6);

	translation_add_text(conf->translation, listen, "%s%s:%s:%s", entry->protocol->scheme,
		is_ipv4			? "4"
		: family == FAMILY_IPV6 ? "6"
					: "",
		name, entry->service);
}

static bool add_host(struct inetd_conf *conf, const struct inetd_entry *entry, char *host,
	struct translation_assignment *listen)
{
	size_t length = strlen(host);

	if (strcmp(host, "*") == 0) {
		add_any(conf, entry, listen);
		return true;
	}
	if (*host == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		host++;
	}
	if (!check_family(conf, entry, host))
		return false;
	if (translation_is_host_name(host)) {
		add_name(conf, entry, host, listen);
		return true;
	}
	translation_add_text(conf->translation, listen,
		strchr(host, ':') ? "%s:[%s]:%s" : "%s:%s:%s", entry->protocol->scheme, host,
		entry->service);
	return true;
}

static bool add_hosts(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_assignment *listen)
{
	char *hosts = strdup(entry->hosts ? entry->hosts : "*"), *rest = hosts;
	bool is_right = hosts != NULL;

	if (!hosts)
		conf->translation->is_out_of_memory = true;
	for (int n = 0; rest && is_right; n++) {
		char *host = rest;

		rest = inetd_conf_cut(host, ",");
		is_right = n < MAX_HOSTS ? add_host(conf, entry, host, listen)
					 : inetd_conf_refuse(
						   conf, "there are more than %d hosts", MAX_HOSTS);
	}
	free(hosts);
	return is_right;
}

/* A socket for all addresses of IPv6 must leave those of IPv4 to the other one. */
static void add_v6only(struct inetd_conf *conf, struct translation_service *service)
{
	const struct translation_assignment *listen = translation_find(service, NULL, "listen");

	for (size_t i = 0; listen && i < listen->n_texts; i++) {
		if (!strstr(listen->texts[i], ":[::]:"))
			continue;
		translation_assign_text(
			conf->translation, service, "socket", "v6only", conf->place, "true");
		return;
	}
}

/* "rcvbuf=64k" or "sndbuf=64k" */
static bool add_size(struct inetd_conf *conf, char *option, struct translation_service *service)
{
	char *value = inetd_conf_cut(option, "="), *end = value;
	bool is_receive = strcmp(option, "rcvbuf") == 0;
	uint64_t size;

	if (!value || (!is_receive && strcmp(option, "sndbuf") != 0))
		return inetd_conf_refuse(
			conf, "unknown size '%s', expected rcvbuf=SIZE or sndbuf=SIZE", option);
	size = isdigit((unsigned char)*value) ? strtoull(value, &end, 10) : 0;
	if ((*end == 'k' || *end == 'm') && size <= INT32_MAX)
		size <<= *end++ == 'k' ? 10 : 20;
	if (size == 0 || size > INT32_MAX || *end)
		return inetd_conf_refuse(
			conf, "%s is '%s', expected bytes, as in 16384, 64k or 1m", option, value);
	translation_add_text(conf->translation,
		translation_assign(conf->translation, service, "socket",
			is_receive ? "receive_buffer" : "send_buffer", conf->place),
		"%" PRIu64, size);
	return true;
}

static bool add_sizes(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	for (char *option = entry->sizes, *rest; option; option = rest) {
		rest = inetd_conf_cut(option, ",");
		if (!add_size(conf, option, service))
			return false;
	}
	return true;
}

bool inetd_entry_add_socket(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service)
{
	struct translation_assignment *listen =
		translation_assign(conf->translation, service, NULL, "listen", conf->place);

	service->is_mux = entry->is_mux;
	service->is_mux_plus = entry->is_mux && *entry->service == '+';
	if (entry->protocol->family == FAMILY_UNIX)
		translation_add_text(conf->translation, listen, "%s:%s", entry->protocol->scheme,
			entry->service);
	else if (!entry->is_mux && !add_hosts(conf, entry, listen))
		return false;
	add_v6only(conf, service);
	return add_sizes(conf, entry, service);
}
