/* SPDX-License-Identifier: MIT */
/*
 * What inetd.conf and xinetd.conf say, in the words of usher.conf(5): the value that both readers
 * (inetd-conf.h, xinetd-conf.h) produce. config applies it as if it had been read from usher.conf;
 * translation-print.h writes it as one.
 *
 * It knows nothing of what the words mean, and whether their values can be carried out: whoever
 * applies or loads them checks that.
 *
 * Invariant: every text is UTF-8 without control characters, as in any usher.conf; names of
 * services differ, and are such as usher.conf takes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* More services than anybody has in such a file; the others are left out with a warning. */
#define TRANSLATION_MAX_SERVICES 1024

/* Most values of one attribute. */
#define TRANSLATION_MAX_TEXTS 1024

/* Longest name of a service: usher.conf(5). */
#define TRANSLATION_MAX_NAME 63

/* Where something was written. `file` belongs to the translation. */
struct translation_place {
	const char *file;
	int line; /* 0: the file as a whole */
};

/* KEY = {TEXT, ...}, in a section of a service or not. */
struct translation_assignment {
	const char *section; /* static; NULL: of the service itself */
	const char *key;     /* static */
	char **texts;
	size_t n_texts; /* 0: an empty list */
	struct translation_place place;
};

struct translation_service {
	char *name;
	char *base;	    /* what `name` was before it was made different from others; or NULL */
	const char *suffix; /* static: what tells it from another one of its name: "udp", "tcp6" */
	char *comment;	    /* lines that begin with '#' and end with '\n', or are empty; or NULL */
	struct translation_place place;
	struct translation_assignment *assignments;
	size_t n_assignments;
	char *refusal; /* a file: what clients get who are refused; or NULL */
	bool is_disabled;
	bool is_builtin;  /* usher-basic or usher-tcpmux serves it, by its name: it has no other */
	bool is_mux;	  /* reachable through tcpmux only */
	bool is_mux_plus; /* and usher-tcpmux(8) says "+" for it */
	bool replaces;	  /* on the same address, it takes the place of an earlier one */
};

/* What is not carried out, and what to do about it. */
struct translation_warning {
	struct translation_place place;
	char *sentence;
	bool is_idle; /* of a service that is disabled: it can wait */
};

/* Zero-initialise; free with translation_done(). */
struct translation {
	struct translation_service **services;
	size_t n_services;
	struct translation_warning *warnings;
	size_t n_warnings;
	char **files; /* all that were read, for the places */
	size_t n_files;
	char *comment; /* what stands after the last service */
	size_t comment_length, comment_room;
	bool is_out_of_memory;
};

/* What the readers have to know of this system, since they look at nothing themselves. */
struct translation_facts {
	bool has_ipv6;		      /* there are addresses of IPv6 */
	bool has_host_rules;	      /* hosts_access(5) says something on this system */
	const char *basic_user;	      /* who runs usher-basic; NULL: only root or usherd's user */
	const char *tcpmux_user;      /* who runs usher-tcpmux; likewise */
	const char *redirect_program; /* the path of usher-redirect */

	/*
	 * Read a file that another one includes. Returns its text, to be freed; or NULL with a
	 * sentence in `why` (of `why_size` bytes).
	 */
	char *(*read_file)(const char *file, char *why, size_t why_size);
	/*
	 * The names of the entries of a folder in the order of strcmp(3), to be freed, with the
	 * list. Returns 0, or a negative errno.
	 */
	int (*list_folder)(const char *folder, char ***ret_names, size_t *ret_n);
};

void translation_done(struct translation *translation);

/* Remember `file`. Returns a copy that lives as long as the translation; "" without memory. */
const char *translation_add_file(struct translation *translation, const char *file);

/* A new service without assignments, at the end. NULL: there are too many, or no memory. */
struct translation_service *translation_add_service(
	struct translation *translation, const char *name, struct translation_place place);

/* Free a service that is no longer in the translation. */
void translation_free_service(struct translation_service *service);

/* Take the last service away again. */
void translation_drop_service(struct translation *translation);

/* Append KEY = {} to a service. `section` and `key` are static. NULL: no memory. */
struct translation_assignment *translation_assign(struct translation *translation,
	struct translation_service *service, const char *section, const char *key,
	struct translation_place place);

/* Append a value to it. NULL is ignored, so that calls can follow one another. */
void translation_add_text(struct translation *translation,
	struct translation_assignment *assignment, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Both: KEY = TEXT. */
void translation_assign_text(struct translation *translation, struct translation_service *service,
	const char *section, const char *key, struct translation_place place, const char *text);

/* The assignment of that key, or NULL. */
struct translation_assignment *translation_find(
	const struct translation_service *service, const char *section, const char *key);

void translation_warn(struct translation *translation, struct translation_place place,
	const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A line of the file that stands before the next service, with its '#', or an empty one. */
void translation_add_comment(struct translation *translation, const char *line, size_t length);

/* The comments that were collected, to be freed; NULL: none. It begins anew. */
char *translation_move_comment(struct translation *translation);

/* Is it the name of a host, and no address? */
bool translation_is_host_name(const char *host);

/* Is it UTF-8 without control characters? */
bool translation_is_text(const char *text);

/*
 * Everything is read: bring the services together.
 *
 * One that has an address of an earlier one takes its place, or gives way. Services of one name
 * that are alike in all but their addresses become one; if they are built in, the limits of
 * connections are no difference from datagrams. Others of a name that is taken are called
 * NAME-SUFFIX, NAME-SUFFIX-2 and so on; if they are built in they are left out, with a warning.
 * Services reachable through tcpmux are named in the `forward` of the service tcpmux. For each file
 * that refused clients get there is a service, NAME-refused, that programs of usher-exec serve.
 * Characters that no name may have become '_'.
 *
 * Once, when all is read.
 */
void translation_finish(struct translation *translation);
