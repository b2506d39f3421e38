/* SPDX-License-Identifier: MIT */
/*
 * What the files of config.c share, and nobody else includes:
 *
 *   config-source.c     one file as text: whose it is, how large, without its comments and "{}"
 *   config-parse.c      libconfuse: files to values, each with the line it was written at
 *   config-foreign.c    files of inetd and xinetd: their services beside those of usher.conf
 *   config-draft.c      one service while it is read: which keys are given, defaults for the others
 *   config-keys.c       the schema as one table: names, types, ranges, defaults
 *   config-type.c       what a key can be: how it is read, copied, compared and freed
 *   config-listen.c     places to listen, and names of hosts in them
 *   config-value.c      one value: numbers, durations, sizes, choices
 *   config-account.c    users and groups
 *   config-admission.c  who, when, how many, how often
 *   config-exec.c       programs: accounts, variables, resource limits
 *   config-log.c        what is logged of connections, and where to
 *   config-check.c      what can only be said when all files are read: names, conflicts, limits
 *   config-fit.c        what of one service does not go together
 *   config-resolve.c    names of hosts and networks become addresses
 *   config-compare.c    do two services say the same?
 *   config.c            config_load() and the end of a struct config
 *
 * All of them report by config_errors_add() and go on; whether anything was reported decides at the
 * end.
 */
#pragma once

#include "config.h"

#define CONFIG_WHY_SIZE 512

/* What is said of anything that may stand once only, after its name: where the first is. */
#define CONFIG_SECOND_TIME " is given a second time, the first is at %s:%d: remove one of them"

/* array_add(); without memory `errors` has the flag. */
void *config_array_add(void *array, size_t *n, size_t element_size, struct config_errors *errors);

/* Free what the members own. */
void config_service_done(struct config_service *service);

/* One file in memory, as libconfuse can be trusted with it. */
struct config_source {
	char *text;  /* NUL-terminated; comments are spaces, so that every line keeps its number */
	size_t size; /* at least 1: the last line ends with a newline */
	int *section_lines; /* of each '{' that stands in no other, in order */
	size_t n_sections;
	dev_t device; /* with inode: which file this is, whatever its name */
	ino_t inode;
};

/*
 * The value that stands in place of "{}", because libconfuse says nothing of a list without values.
 * A control character: no file has it.
 */
#define CONFIG_EMPTY_LIST '\1'

/* Open, check and read `file`, whatever stands in it; it has no sections then. Returns whether that
 * was possible; if not, why is in *errors. */
bool config_source_read_plain(
	const char *file, struct config_source *ret, struct config_errors *errors);

/* The same for usher.conf: what libconfuse would misunderstand is refused too. */
bool config_source_read(const char *file, struct config_source *ret, struct config_errors *errors);

void config_source_done(struct config_source *source);

/* One text, and where it stands. */
struct config_input {
	const char *text;
	size_t index; /* in its list, from 0 */
	struct config_place place;
};

struct config_key;

/* What a service must have so that a key can be carried out, as a set. */
enum config_need {
	CONFIG_NEEDS_CONNECTIONS = 1 << 0, /* a listener that is not lent */
	CONFIG_NEEDS_PROVIDERS = 1 << 1,   /* connections are not passed */
	CONFIG_NEEDS_PASS = 1 << 2,	   /* they are */
	CONFIG_NEEDS_PROGRAM = 1 << 3,
	CONFIG_NEEDS_NOBODY = 1 << 4,	 /* neither a program nor a receiver */
	CONFIG_NEEDS_ADDRESSES = 1 << 5, /* a listener of the internet */
	CONFIG_NEEDS_UNIX = 1 << 6,	 /* a listener of such a kind */
	CONFIG_NEEDS_UDP = 1 << 7,
	CONFIG_NEEDS_TCP = 1 << 8,
};

/*
 * What a key can be. `ret`, `element`, `a` and `b` point to the member of struct config_service,
 * or, if element_size is not 0, to one element of the array that the member points to.
 *
 * Where a `why` is (of CONFIG_WHY_SIZE bytes, empty before), false means that it has a sentence
 * now, or is still empty: no memory.
 */
struct config_type {
	bool is_list;	     /* is written with braces */
	size_t element_size; /* of an array; 0: the values are in the member itself */
	/* Understand one text. Changes nothing on failure. */
	bool (*parse)(const struct config_key *key, const struct config_input *input, void *ret,
		char *why);
	/* The same for an array, when one text can stand for several elements, instead of `parse`.
	 * *ret is allocated. */
	bool (*expand)(const struct config_key *key, const struct config_input *input, void **ret,
		size_t *ret_n, char *why);
	/* Is it complete, with so many texts? NULL: always. */
	bool (*finish)(const struct config_key *key, size_t n_texts, const void *member, char *why);
	/* Of an array that several keys add to: is it this one's? NULL: there is one key. */
	bool (*is_own)(const struct config_key *key, const void *element);
	/* `element` is a copy of all bytes of another: give it what it owns as its own. Returns
	 * whether there was memory; otherwise it owns nothing. NULL: it owns nothing anyway. */
	bool (*copy)(void *element);
	void (*done)(void *element);			/* free what it owns; NULL: nothing */
	bool (*is_equal)(const void *a, const void *b); /* NULL: if all bytes are */
};

/* One attribute of a service. */
struct config_key {
	const char *section; /* one of config_sections; NULL: of the service itself */
	const char *name;
	const struct config_type *type;
	bool is_required; /* in each service, and so not in defaults {} */
	bool is_account;  /* names users or groups, whom a disabled service may not have yet */
	/* Of numbers: understand one. Returns true with *ret, or false with a sentence in `why`. */
	bool (*number)(const struct config_key *key, const char *text, uint64_t *ret, char *why);
	/* Of texts: may it be so? Returns false with a sentence in `why` if not. NULL: any. */
	bool (*check)(const struct config_key *key, const char *text, char *why);
	uint64_t least, most;	    /* of numbers, durations (microseconds), sizes (bytes) */
	const char *const *choices; /* ended by NULL; the value is the index */
	int tag;		    /* tells keys that share an array apart */
	unsigned int needs;	    /* a set of enum config_need */
	uint64_t initial;	    /* of a number without the key */
	const void *initial_bytes;  /* of another member; NULL: zero */
	size_t offset, size;	    /* the member of struct config_service: a pointer, for arrays */
	size_t count_offset;	    /* of arrays: the member that counts */
	size_t given_offset;	    /* a bool: the key or its default was given; 0: none */
	size_t place_offset;	    /* a struct config_place: where; 0: none */
};

#define CONFIG_N_KEYS 69
extern const struct config_key config_keys[CONFIG_N_KEYS];

/* The sections in a service, or in the defaults, that some of the keys stand in; one in another one
 * after it, as "exec.rlimit". */
#define CONFIG_N_SECTIONS 6
extern const char *const config_sections[CONFIG_N_SECTIONS];

extern const struct config_type config_type_number;
extern const struct config_type config_type_ids;   /* a list of numbers of 32 bits */
extern const struct config_type config_type_set;   /* a list whose numbers are or-ed */
extern const struct config_type config_type_text;  /* char * */
extern const struct config_type config_type_texts; /* a list of them */
extern const struct config_type config_type_listen;
extern const struct config_type config_type_rule; /* tag: is_allowed */
extern const struct config_type config_type_hours;
extern const struct config_type config_type_cps;
extern const struct config_type config_type_rate;
extern const struct config_type config_type_prefix;
extern const struct config_type config_type_rlimit; /* tag: RLIMIT_... */
extern const struct config_type config_type_log;

/*
 * Replace the names in `listen` by their addresses, after names_close(). A name without one is an
 * error.
 */
void config_listen_resolve(
	struct config_service *service, struct names *names, struct config_errors *errors);

/* Is there a name in `listen`? */
bool config_listen_has_names(const struct config_service *service);

/* The member of a service, at an offset. */
void *config_member(const struct config_service *service, size_t offset);

/* What was read of `input` becomes the last of the values that the member has. */
bool config_type_take(const struct config_key *key, const struct config_input *input,
	struct config_service *service, char *why);

/* Append the values of `from`, which are the key's, to those of `to`. Returns whether there was
 * memory. */
bool config_type_copy(
	const struct config_key *key, struct config_service *to, const struct config_service *from);

/* What the key is if nobody says it. */
void config_type_set_initial(const struct config_key *key, struct config_service *service);

/* Is it what it would be then? For numbers; other values never are. */
bool config_type_is_initial(const struct config_key *key, const struct config_service *service);

/* Make it so. An array that several keys share goes as a whole. */
void config_type_reset(const struct config_key *key, struct config_service *service);

/* Fill `why`. Returns false, for the caller to return. */
bool config_refuse(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool config_value_boolean(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_number(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_duration(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_choice(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* "64KiB", or a number of bytes. */
bool config_value_size(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* Octal digits, as of file modes. */
bool config_value_octal(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A duration, or a number of seconds. */
bool config_value_seconds(const struct config_key *key, const char *text, uint64_t *ret, char *why);

bool config_value_socket_type(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A duration or "forever", which is UINT64_MAX. */
bool config_value_deny_time(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* "4.5" is 450. */
bool config_value_load(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* -20 to 19. */
bool config_value_nice(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A duration, or a number of seconds, in whole seconds. */
bool config_value_cpu_time(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* One of enum config_log_item; `most` is the set of those that may be. */
bool config_value_log_item(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A name of the database or any number that means somebody. */
bool config_value_user(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_group(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A name or number that is in passwd(5). *ret_name is its name, allocated. */
bool config_value_account(
	const char *text, uid_t *ret_uid, gid_t *ret_gid, char **ret_name, char *why);

bool config_check_path(const struct config_key *key, const char *text, char *why);
bool config_check_socket_path(const struct config_key *key, const char *text, char *why);
bool config_check_variable(const struct config_key *key, const char *text, char *why);
bool config_check_variable_name(const struct config_key *key, const char *text, char *why);

/* Of passwd(5), group(5); nobody may be one here: a program can run as nobody. */
bool config_check_user(const struct config_key *key, const char *text, char *why);
bool config_check_group(const struct config_key *key, const char *text, char *why);

/* An attribute of the whole configuration. */
struct config_global {
	const char *section; /* NULL: it stands in none */
	const char *name;
	bool is_list; /* `parse` adds each value to those before */
	/* Understand and store a value. Returns false with a sentence in `why`. */
	bool (*parse)(struct config *config, const char *text, char *why);
};

#define CONFIG_N_GLOBALS 6
extern const struct config_global config_globals[CONFIG_N_GLOBALS];

/* What a draft knows of a key. */
struct config_given {
	const char *file; /* where it was; NULL: nowhere yet */
	int line;
	bool is_bad;	  /* there was an error */
	uint32_t n_texts; /* of the last time it was given */
};

/* A service, or the defaults, while its section is being read. Zero-initialise. */
struct config_draft {
	struct config_service service;
	struct config_given given[CONFIG_N_KEYS];
	/*
	 * It comes from a file of another program: a rule that usherd cannot carry out is a warning
	 * then. In only_from it admits nobody; for one in no_access the service `is_barred`.
	 */
	bool is_foreign;
	bool is_barred; /* it is disabled, whatever `disable` says */
	/* What is wrong with users and groups: warnings if it is disabled, which is known in the
	 * end. */
	struct config_complaint {
		struct config_place place;
		char *why;
	} * complaints;
	size_t n_complaints;
};

/*
 * Take one value of `key`; `text` NULL: a list without values. `is_continued`: it is a further one
 * of the same list; otherwise the key is being given anew, which is an error if it was before.
 */
void config_draft_take(struct config_draft *draft, const struct config_key *key, const char *text,
	struct config_place place, bool is_continued, struct config_errors *errors);

/* The section has ended: that of the defaults, whose users and groups have to be there. */
void config_draft_finish(struct config_draft *draft, struct config_errors *errors);

/* The same of a service: it was called `name` and began at `place`. */
void config_draft_close(struct config_draft *draft, const char *name, struct config_place place,
	struct config_errors *errors);

/* Give a closed draft what it does not say itself. */
void config_draft_complete(struct config_draft *draft, const struct config_draft *defaults,
	struct config_errors *errors);

/* Free what it has, and begin anew. */
void config_draft_clear(struct config_draft *draft);

/* What inetd_conf(), xinetd_conf() and xinetd_d() say: their files, and then their services, which
 * are no part of the configuration yet. Zero-initialise. */
struct config_foreign {
	struct config_foreign_file {
		enum config_foreign_type {
			CONFIG_FOREIGN_INETD_CONF,
			CONFIG_FOREIGN_XINETD_CONF,
			CONFIG_FOREIGN_XINETD_D,
		} type;
		char *path;
		struct config_place place; /* of the call */
	} * files;
	size_t n_files;
	struct config_service **services;
	size_t n_services;
};

/* A call of one of these functions, at `place`; `path` is relative to the folder of that file. */
void config_foreign_add_file(struct config_foreign *foreign, enum config_foreign_type type,
	const char *path, struct config_place place, struct config_errors *errors);

/*
 * Read the files, and make services of what they say and `defaults`. A service with something wrong
 * is left out, with a warning; an error is only a file that is there and cannot be read. Every file
 * that was read is among those of `config` then.
 */
void config_foreign_read(struct config_foreign *foreign, struct config *config,
	const struct config_draft *defaults, struct config_errors *errors);

/*
 * Check `config` with these services as far as they go together with it, and with each other; those
 * that do not are left out, with a warning. They are the configuration's then.
 */
void config_foreign_join(struct config_foreign *foreign, struct config *config, uint64_t fd_limit,
	struct config_errors *errors);

/* Leave out the service with this number, which comes from such a file, because of an error. */
void config_foreign_leave_out(
	struct config *config, size_t number, const char *line, struct config_errors *errors);

/* The same checks once more: places to listen have become others. */
void config_foreign_join_again(struct config *config, struct config_errors *errors);

void config_foreign_done(struct config_foreign *foreign);

/* Add a line that was said of a place, "FILE:LINE: ...", as a warning, and that the service
 * `left_out`, if it is not NULL, is left out because of it. */
void config_foreign_warn(const struct config *config, const char *line, const char *left_out,
	struct config_errors *errors);

/* Read `path` and what it includes into `config`, whose services are then in the order of reading.
 */
void config_parse(const char *path, struct config *config, struct config_foreign *foreign,
	struct config_errors *errors);

/* Sort the services, and look for what does not go together. */
void config_check(struct config *config, uint64_t fd_limit, struct config_errors *errors);

/* Take away from a completed draft what it cannot carry out. What it says itself is an error. */
void config_fit_keys(struct config_draft *draft, struct config_errors *errors);

/* What of a service does not go together besides. `config->services` are sorted. */
void config_check_fit(const struct config *config, const struct config_service *service,
	struct config_errors *errors);
