/* SPDX-License-Identifier: MIT */
/*
 * What the files of inetd-conf.c share, and nobody else includes:
 *
 *   inetd-conf.c          lines, words, comments, default hosts
 *   inetd-conf-socket.c   service, type and protocol: where to listen
 *   inetd-conf-program.c  wait, user, program: what is run, as whom, how often
 */
#pragma once

#include "inetd-conf.h"

#include <stdint.h>

/* What the words of a line are. */
enum inetd_field {
	INETD_FIELD_SERVICE,
	INETD_FIELD_TYPE,
	INETD_FIELD_PROTOCOL,
	INETD_FIELD_WAIT,
	INETD_FIELD_USER,
	INETD_FIELD_PROGRAM,
	INETD_FIELD_ARGUMENTS, /* from argv[0] on */
};

/* A file while it is read. */
struct inetd_conf {
	struct translation *translation;
	const struct translation_facts *facts;
	struct translation_place place; /* of the line */
	char *hosts;			/* the default, of lines "HOST:"; NULL: "*" */
};

struct inetd_protocol;

/* A line, in words that the functions below cut to pieces. */
struct inetd_entry {
	char **fields;
	size_t n_fields;
	const char *hosts;   /* with commas; NULL: "*" */
	const char *service; /* a name, a port, or a path */
	char *most;	     /* of TYPE,MOST; or NULL */
	char *sizes;	     /* of PROTOCOL,SIZE,SIZE; or NULL */
	const struct inetd_protocol *protocol;
	bool is_stream;
	bool is_mux; /* tcpmux/NAME */
};

/* Say why the line is left out. Returns false, for the caller to return. */
bool inetd_conf_refuse(struct inetd_conf *conf, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A decimal number up to `most`. */
bool inetd_conf_read_number(const char *text, uint32_t most, uint32_t *ret);

/* Cut off what follows the first of some characters. Returns it, or NULL. */
char *inetd_conf_cut(char *text, const char *separators);

/* Understand the first three words. Like all below: false when the line cannot be carried out, of
 * which the reason was said. */
bool inetd_entry_read_socket(struct inetd_conf *conf, struct inetd_entry *entry);

/* What the service is called, before anybody else has the name. */
const char *inetd_entry_name(const struct inetd_entry *entry);

/* What tells it from others of that name. Static. */
const char *inetd_entry_suffix(const struct inetd_entry *entry);

/* Say where the new service listens, and with which buffers. */
bool inetd_entry_add_socket(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service);

/* The other words. */
bool inetd_entry_add_program(struct inetd_conf *conf, const struct inetd_entry *entry,
	struct translation_service *service);
