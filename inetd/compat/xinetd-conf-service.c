/* SPDX-License-Identifier: MIT */
/* From a section of xinetd.conf to a service: see xinetd-conf-private.h. */
#include "xinetd-conf-private.h"

#include "program.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool xinetd_service_refuse(
	struct xinetd_service *service, struct translation_place place, const char *format, ...)
{
	char sentence[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	translation_warn(service->conf->translation, place, "%s; service '%s' is left out",
		sentence, service->entry->name);
	return false;
}

bool xinetd_service_has(
	const struct xinetd_service *service, enum xinetd_key key, const char *value)
{
	const struct xinetd_attribute *attribute = &service->attributes[key];

	for (size_t i = 0; i < attribute->n_values; i++)
		if (strcmp(attribute->values[i], value) == 0)
			return true;
	return false;
}

const char *xinetd_service_value(const struct xinetd_service *service, enum xinetd_key key)
{
	const struct xinetd_attribute *attribute = &service->attributes[key];

	return attribute->n_values == 1 ? attribute->values[0] : NULL;
}

bool xinetd_service_is(const struct xinetd_service *service, enum xinetd_key key, const char *value)
{
	const char *text = xinetd_service_value(service, key);

	return text && strcmp(text, value) == 0;
}

void xinetd_service_assign(struct xinetd_service *service, const char *section, const char *key,
	enum xinetd_key from, const char *text)
{
	translation_assign_text(service->conf->translation, service->service, section, key,
		service->attributes[from].place, text);
}

static const char *id_of(const struct xinetd_service *service)
{
	const char *id = xinetd_service_value(service, XINETD_ID);

	return id ? id : service->entry->name;
}

/* Attributes that are "yes" or "no". */
static bool check_booleans(struct xinetd_service *service)
{
	static const enum xinetd_key keys[] = {
		XINETD_DISABLE, XINETD_GROUPS, XINETD_MDNS, XINETD_V6ONLY, XINETD_WAIT};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *text = xinetd_service_value(service, keys[i]);

		if (text && strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
			return xinetd_service_refuse(service, service->attributes[keys[i]].place,
				"%s is '%s', expected yes or no", xinetd_entry_key_name(keys[i]),
				text);
	}
	return true;
}

/* What becomes of a flag or a type. */
struct word {
	const char *name;
	const char *refused; /* why the service is left out; or NULL */
};

static const struct word flags[] = {
	{"IDONLY", "the flag IDONLY needs the identification of RFC 1413, which usher does not ask "
		   "for: take it away, and use only_from"},
	{"INTERCEPT"}, /* makes a difference only where a rule is refused for it */
	{"IPv4"},
	{"IPv6"},
	{"KEEPALIVE"},
	{"LABELED",
		"the flag LABELED is not carried out: run the program by a unit of systemd with "
		"SELinuxContextFromNet="},
	{"NAMEINARGS"},
	{"NODELAY"},
	{"NOLIBWRAP"}, /* usherd never asks hosts_access(5) */
	{"NORETRY"},   /* usher-exec never does */
	{"REUSE"},     /* it is always so */
	{"SENSOR"},
};

static const struct word types[] = {
	{"INTERNAL"},
	{"RPC", "services of ONC RPC have to be registered with rpcbind, which usher does not do: "
		"run this one as a daemon of its own"},
	{"SPECIAL", "the type SPECIAL is not for configurations: take it away"},
	{"TCPMUX"},
	{"TCPMUXPLUS"},
	{"UNLISTED"},
};

static const struct word *find_word(const struct word *words, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	return NULL;
}

static bool check_words(
	struct xinetd_service *service, enum xinetd_key key, const struct word *words, size_t n)
{
	const struct xinetd_attribute *attribute = &service->attributes[key];

	for (size_t i = 0; i < attribute->n_values; i++) {
		const char *name = attribute->values[i];
		const struct word *word = find_word(words, n, name);

		if (!word)
			return xinetd_service_refuse(service, attribute->place,
				"%s has '%s', which xinetd.conf(5) does not know",
				xinetd_entry_key_name(key), name);
		if (word->refused)
			return xinetd_service_refuse(
				service, attribute->place, "%s", word->refused);
	}
	return true;
}

static bool check_flags_and_types(struct xinetd_service *service)
{
	return check_words(service, XINETD_TYPE, types, sizeof(types) / sizeof(types[0])) &&
	       check_words(service, XINETD_FLAGS, flags, sizeof(flags) / sizeof(flags[0]));
}

/* stream is tcp and dgram udp; either may be left out. */
static bool read_protocol(struct xinetd_service *service)
{
	const char *type = xinetd_service_value(service, XINETD_SOCKET_TYPE);
	const char *protocol = xinetd_service_value(service, XINETD_PROTOCOL);
	bool is_stream =
		type ? strcmp(type, "stream") == 0 : protocol && strcmp(protocol, "tcp") == 0;
	bool is_dgram =
		type ? strcmp(type, "dgram") == 0 : protocol && strcmp(protocol, "udp") == 0;

	if (!type && !protocol)
		return xinetd_service_refuse(service, service->entry->place,
			"there is no socket_type, expected stream or dgram");
	if (!is_stream && !is_dgram)
		return xinetd_service_refuse(service,
			service->attributes[type ? XINETD_SOCKET_TYPE : XINETD_PROTOCOL].place,
			"%s is '%s', expected %s", type ? "socket_type" : "protocol",
			type ? type : protocol, type ? "stream or dgram" : "tcp or udp");
	if (protocol && strcmp(protocol, is_stream ? "tcp" : "udp") != 0)
		return xinetd_service_refuse(service, service->attributes[XINETD_PROTOCOL].place,
			"protocol is '%s', expected %s for socket_type = %s", protocol,
			is_stream ? "tcp" : "udp", is_stream ? "stream" : "dgram");
	service->is_dgram = is_dgram;
	return true;
}

static bool read_wait(struct xinetd_service *service)
{
	if (!service->attributes[XINETD_WAIT].is_given)
		return xinetd_service_refuse(
			service, service->entry->place, "there is no wait, expected yes or no");
	service->is_wait = xinetd_service_is(service, XINETD_WAIT, "yes");
	service->is_mux_plus = xinetd_service_has(service, XINETD_TYPE, "TCPMUXPLUS");
	service->is_mux =
		service->is_mux_plus || xinetd_service_has(service, XINETD_TYPE, "TCPMUX");
	service->is_builtin = xinetd_service_has(service, XINETD_TYPE, "INTERNAL");
	if (service->is_mux && (service->is_wait || service->is_dgram))
		return xinetd_service_refuse(service, service->entry->place,
			"it is behind tcpmux, expected socket_type = stream and wait = no");
	return true;
}

/* Does it say that it is one of IPv6? */
static bool is_ipv6(const struct xinetd_service *service, const char *host)
{
	return xinetd_service_has(service, XINETD_FLAGS, "IPv6") || (host && strchr(host, ':'));
}

/*
 * All addresses: IPv4 and IPv6, unless a flag or v6only says otherwise. xinetd has one socket for
 * both, and shows programs an address of IPv4 nevertheless; here there are two.
 */
static void add_all(struct xinetd_service *service, struct translation_assignment *listen,
	const char *scheme, const char *port)
{
	struct translation *translation = service->conf->translation;
	bool is_v6only = xinetd_service_is(service, XINETD_V6ONLY, "yes");
	bool has_ipv6 = (service->conf->facts->has_ipv6 || is_v6only) &&
			!xinetd_service_has(service, XINETD_FLAGS, "IPv4");

	if (!is_v6only || !has_ipv6)
		translation_add_text(translation, listen, "%s:0.0.0.0:%s", scheme, port);
	if (!has_ipv6)
		return;
	translation_add_text(translation, listen, "%s:[::]:%s", scheme, port);
	translation_assign_text(
		translation, service->service, "socket", "v6only", service->entry->place, "true");
}

/* Of a name all addresses count, unless a flag says otherwise; of an address itself. */
static void add_host(struct xinetd_service *service, struct translation_assignment *listen,
	const char *scheme, const char *host, const char *port)
{
	bool is_ipv4 = !service->conf->facts->has_ipv6 ||
		       xinetd_service_has(service, XINETD_FLAGS, "IPv4");
	const char *family = "";

	if (xinetd_service_has(service, XINETD_FLAGS, "IPv6"))
		family = "6";
	else if (is_ipv4)
		family = "4";
	if (translation_is_host_name(host))
		translation_add_text(service->conf->translation, listen, "%s%s:%s:%s", scheme,
			family, host, port);
	else
		translation_add_text(service->conf->translation, listen,
			strchr(host, ':') ? "%s:[%s]:%s" : "%s:%s:%s", scheme, host, port);
}

static bool add_listen(struct xinetd_service *service)
{
	const char *scheme = service->is_dgram ? "udp" : "tcp";
	const char *host = xinetd_service_value(service, XINETD_BIND);
	const char *port = xinetd_service_value(service, XINETD_PORT);
	struct translation_assignment *listen = translation_assign(service->conf->translation,
		service->service, NULL, "listen", service->entry->place);

	service->service->suffix = service->is_dgram ? is_ipv6(service, host) ? "udp6" : "udp"
				   : is_ipv6(service, host) ? "tcp6"
							    : "tcp";
	if (xinetd_service_has(service, XINETD_FLAGS, "IPv4") && is_ipv6(service, host))
		return xinetd_service_refuse(service, service->entry->place,
			"it has IPv4 and IPv6, expected a section for each");
	if (service->is_mux)
		return true;
	if (!port && xinetd_service_has(service, XINETD_TYPE, "UNLISTED"))
		return xinetd_service_refuse(
			service, service->entry->place, "it is UNLISTED, expected a port");
	if (!port)
		port = service->entry->name;
	if (host)
		add_host(service, listen, scheme, host, port);
	else
		add_all(service, listen, scheme, port);
	return true;
}

static void add_socket_options(struct xinetd_service *service)
{
	if (xinetd_service_has(service, XINETD_FLAGS, "NODELAY"))
		xinetd_service_assign(service, "socket", "nodelay", XINETD_FLAGS, "true");
	if (xinetd_service_has(service, XINETD_FLAGS, "KEEPALIVE"))
		xinetd_service_assign(service, "socket", "keepalive", XINETD_FLAGS, "true");
}

/* Attributes that concern nothing that usher does. */
static void warn_of_others(struct xinetd_service *service)
{
	struct xinetd_conf *conf = service->conf;

	for (enum xinetd_key key = XINETD_RPC_NUMBER; key <= XINETD_RPC_VERSION; key++)
		if (service->attributes[key].is_given)
			translation_warn(conf->translation, service->attributes[key].place,
				"%s is not carried out, because the service is not of type RPC: "
				"take it away",
				xinetd_entry_key_name(key));
	if (service->attributes[XINETD_LIBWRAP].is_given)
		translation_warn(conf->translation, service->attributes[XINETD_LIBWRAP].place,
			"libwrap is not carried out: run the program by tcpd(8), or use only_from");
	if (xinetd_service_is(service, XINETD_MDNS, "yes"))
		translation_warn(conf->translation, service->attributes[XINETD_MDNS].place,
			"mdns is not carried out: announce the service by avahi-daemon(8)");
	if (!conf->facts->has_host_rules || conf->has_warned_of_host_rules ||
		service->service->is_disabled ||
		xinetd_service_has(service, XINETD_FLAGS, "NOLIBWRAP"))
		return;
	conf->has_warned_of_host_rules = true;
	translation_warn(conf->translation, service->entry->place,
		"/etc/hosts.allow or /etc/hosts.deny have rules, which xinetd asked for this and "
		"other services, and usher does not: run their programs by tcpd(8), or use "
		"only_from");
}

static bool is_listed(const struct xinetd_attribute *list, const char *id)
{
	for (size_t i = 0; i < list->n_values; i++)
		if (strcmp(list->values[i], id) == 0)
			return true;
	return false;
}

static bool is_disabled(const struct xinetd_service *service)
{
	const struct xinetd_attribute *enabled = &service->attributes[XINETD_ENABLED];

	return xinetd_service_is(service, XINETD_DISABLE, "yes") ||
	       is_listed(&service->attributes[XINETD_DISABLED], id_of(service)) ||
	       (enabled->is_given && !is_listed(enabled, id_of(service)));
}

/* The parts, in the order in which they are written. */
static bool add_parts(struct xinetd_service *service)
{
	if (!add_listen(service) || !xinetd_service_add_access(service))
		return false;
	add_socket_options(service);
	return xinetd_service_add_program(service);
}

static bool translate(struct xinetd_service *service)
{
	struct translation *translation = service->conf->translation;
	const char *name;

	if (!check_booleans(service) || !check_flags_and_types(service) ||
		!read_protocol(service) || !read_wait(service))
		return false;
	/* Others know these by that name. */
	name = service->is_builtin || service->is_mux ? service->entry->name : id_of(service);
	service->service = translation_add_service(translation, name, service->entry->place);
	if (!service->service)
		return false;
	service->service->is_mux = service->is_mux;
	service->service->is_mux_plus = service->is_mux_plus;
	service->service->is_disabled = is_disabled(service);
	if (service->service->is_disabled)
		translation_assign_text(translation, service->service, NULL, "disable",
			service->entry->place, "true");
	if (!add_parts(service)) {
		translation_drop_service(translation);
		return false;
	}
	warn_of_others(service);
	return true;
}

static char *copy_comment(struct translation *translation, const char *comment)
{
	char *copy = comment ? strdup(comment) : NULL;

	if (comment && !copy)
		translation->is_out_of_memory = true;
	return copy;
}

/* What is wrong with a service that is disabled is said when it is looked at, not at each start. */
static void calm_down(struct translation *translation, size_t n_before)
{
	for (size_t i = n_before; i < translation->n_warnings; i++)
		translation->warnings[i].is_idle = true;
}

static void translate_entry(struct xinetd_conf *conf, const struct xinetd_entry *entry)
{
	struct translation *translation = conf->translation;
	struct xinetd_service service = {.conf = conf, .entry = entry};
	size_t n_before = translation->n_warnings;
	bool is_right = xinetd_entry_resolve(conf, conf->defaults, entry, service.attributes) &&
			!entry->is_bad && translate(&service);

	if (is_right)
		service.service->comment = copy_comment(translation, entry->comment);
	if (is_disabled(&service))
		calm_down(translation, n_before);
	xinetd_entry_done(service.attributes);
}

/* Say what is wrong in defaults, once. */
static void check_defaults(struct xinetd_conf *conf)
{
	struct xinetd_attribute attributes[XINETD_N_KEYS] = {0};

	if (!conf->defaults)
		return;
	(void)xinetd_entry_resolve(conf, NULL, conf->defaults, attributes);
	xinetd_entry_done(attributes);
}

void xinetd_service_translate_all(struct xinetd_conf *conf)
{
	check_defaults(conf);
	for (size_t i = 0; i < conf->n_entries; i++)
		if (conf->entries[i]->name)
			translate_entry(conf, conf->entries[i]);
}
