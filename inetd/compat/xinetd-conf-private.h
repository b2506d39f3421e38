/* SPDX-License-Identifier: MIT */
/*
 * What the files of xinetd-conf.c share, and nobody else includes:
 *
 *   xinetd-conf.c           files, includes, sections, lines
 *   xinetd-conf-entry.c     attributes: which there are, and what defaults and operators make of
 * them xinetd-conf-service.c   from a section to a service: its socket, and what is not carried out
 *   xinetd-conf-program.c   what is run, as whom, with which limits
 *   xinetd-conf-access.c    who may come in, how often, and what is logged
 */
#pragma once

#include "xinetd-conf.h"

enum xinetd_key {
	XINETD_ACCESS_TIMES,
	XINETD_BANNER,
	XINETD_BANNER_FAIL,
	XINETD_BANNER_SUCCESS,
	XINETD_BIND,
	XINETD_CPS,
	XINETD_DENY_TIME,
	XINETD_DISABLE,
	XINETD_DISABLED,
	XINETD_ENABLED,
	XINETD_ENV,
	XINETD_FLAGS,
	XINETD_GROUP,
	XINETD_GROUPS,
	XINETD_ID,
	XINETD_INSTANCES,
	XINETD_LIBWRAP,
	XINETD_LOG_ON_FAILURE,
	XINETD_LOG_ON_SUCCESS,
	XINETD_LOG_TYPE,
	XINETD_MAX_LOAD,
	XINETD_MDNS,
	XINETD_NICE,
	XINETD_NO_ACCESS,
	XINETD_ONLY_FROM,
	XINETD_PASSENV,
	XINETD_PER_SOURCE,
	XINETD_PORT,
	XINETD_PROTOCOL,
	XINETD_REDIRECT,
	XINETD_RLIMIT_AS,
	XINETD_RLIMIT_CPU,
	XINETD_RLIMIT_DATA,
	XINETD_RLIMIT_FILES,
	XINETD_RLIMIT_RSS,
	XINETD_RLIMIT_STACK,
	XINETD_RPC_NUMBER,
	XINETD_RPC_VERSION,
	XINETD_SERVER,
	XINETD_SERVER_ARGS,
	XINETD_SOCKET_TYPE,
	XINETD_TYPE,
	XINETD_UMASK,
	XINETD_USER,
	XINETD_V6ONLY,
	XINETD_WAIT,
	XINETD_N_KEYS,
};

enum xinetd_operator {
	XINETD_SET,    /* = */
	XINETD_ADD,    /* += */
	XINETD_REMOVE, /* -= */
};

/* A line of a section. */
struct xinetd_line {
	enum xinetd_key key;
	enum xinetd_operator operator;
	char *text; /* which the values point into */
	char **values;
	size_t n_values;
	struct translation_place place;
};

/* A section: defaults, or a service. */
struct xinetd_entry {
	char *name; /* NULL: defaults */
	char *comment;
	struct translation_place place;
	struct xinetd_line *lines;
	size_t n_lines;
	bool is_bad; /* a line cannot be understood, which was said */
};

/* What an attribute is in the end. The texts belong to the lines. */
struct xinetd_attribute {
	const char **values;
	size_t n_values;
	bool is_given;
	struct translation_place place;
};

struct xinetd_conf {
	struct translation *translation;
	const struct translation_facts *facts;
	struct xinetd_entry **entries;
	size_t n_entries;
	struct xinetd_entry *defaults; /* one of them; NULL: none */
	unsigned int depth;	       /* of includes */
	size_t n_files;
	size_t userid_warning, traffic_warning; /* 1 + its number; 0: there is none yet */
	bool has_warned_of_host_rules;
};

/* A service while it is translated. */
struct xinetd_service {
	struct xinetd_conf *conf;
	const struct xinetd_entry *entry;
	struct xinetd_attribute attributes[XINETD_N_KEYS];
	struct translation_service *service; /* what it becomes */
	bool is_dgram, is_wait, is_builtin, is_mux, is_mux_plus;
};

/* The attribute of that name, or XINETD_N_KEYS. */
enum xinetd_key xinetd_entry_find_key(const char *name);

const char *xinetd_entry_key_name(enum xinetd_key key);

/*
 * Fill `attributes` (XINETD_N_KEYS of them, zeroed): what the section and the defaults, which may
 * be NULL, come to. What is ignored is said. Returns false when a line cannot be carried out; then
 * too it is to be ended by xinetd_entry_done().
 */
bool xinetd_entry_resolve(struct xinetd_conf *conf, const struct xinetd_entry *defaults,
	const struct xinetd_entry *entry, struct xinetd_attribute *attributes);
void xinetd_entry_done(struct xinetd_attribute *attributes);

/* Translate all sections that were read. */
void xinetd_service_translate_all(struct xinetd_conf *conf);

/* Say why the service is left out. Returns false, for the caller to return. */
bool xinetd_service_refuse(struct xinetd_service *service, struct translation_place place,
	const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Is the attribute given, and its first value, and the only one, this? */
bool xinetd_service_is(
	const struct xinetd_service *service, enum xinetd_key key, const char *value);

/* Is it one of the values? */
bool xinetd_service_has(
	const struct xinetd_service *service, enum xinetd_key key, const char *value);

/* The only value of an attribute that takes one; NULL: it is not given. */
const char *xinetd_service_value(const struct xinetd_service *service, enum xinetd_key key);

/* SECTION { KEY = TEXT }, where the attribute stands. */
void xinetd_service_assign(struct xinetd_service *service, const char *section, const char *key,
	enum xinetd_key from, const char *text);

/* The parts of a service. Each returns false when it has refused the service. */
bool xinetd_service_add_program(struct xinetd_service *service);
bool xinetd_service_add_access(struct xinetd_service *service);
