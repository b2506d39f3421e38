/* SPDX-License-Identifier: MIT */
/*
 * What the files of config.c share, and nobody else includes:
 *
 *   config-source.c  one file as text: whose it is, how large, without its comments and "{}"
 *   config-parse.c   libconfuse: files to values, each with the line it was written at
 *   config-draft.c   one service while it is read: which keys are given, defaults for the others
 *   config-keys.c    the schema as one table: names, ranges, defaults
 *   config-value.c   one value: numbers, durations, choices, users, groups
 *   config-check.c   what can only be said when all files are read: names, conflicts, limits
 *   config.c         config_load() and the end of a struct config
 *
 * All of them report by config_errors_add() and go on; whether anything was reported decides at the
 * end.
 */
#pragma once

#include "config.h"

#define CONFIG_WHY_SIZE 512

/* What is said of anything that may stand once only, after its name: where the first is. */
#define CONFIG_SECOND_TIME " is given a second time, the first is at %s:%d"

/*
 * Make room for one more element. Returns the new element, zeroed, and counts it; NULL (and the
 * flag in `errors`) when memory ran out. `array` is the address of the pointer to the first
 * element.
 */
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

/* Open, check and read `file`. Returns whether it may be parsed; if not, why is in *errors. */
bool config_source_read(const char *file, struct config_source *ret, struct config_errors *errors);

void config_source_done(struct config_source *source);

/* One attribute of a service. */
struct config_key {
	const char *section; /* one of config_sections; NULL: of the service itself */
	const char *name;
	bool is_list;
	bool is_required; /* in each service, and so not in defaults {} */
	/*
	 * Understand one value. Returns true with *ret, or false with a sentence in `why` (of
	 * CONFIG_WHY_SIZE bytes). NULL: the value is no number, and `add` takes it.
	 */
	bool (*parse)(const struct config_key *key, const char *text, uint64_t *ret, char *why);
	/* Of lists: append what `text` means; what is wrong with it is reported. */
	void (*add)(struct config_service *service, const char *text, struct config_place place,
		struct config_errors *errors);
	uint64_t least, most;	    /* of numbers and durations (microseconds) */
	const char *const *choices; /* ended by NULL; the value is the index */
	uint64_t initial;	    /* without the key; lists are empty then */
	size_t offset, size;	    /* the member of struct config_service: its first, for lists */
	size_t count_offset;	    /* of lists: the member that counts */
};

#define CONFIG_N_KEYS 19
extern const struct config_key config_keys[CONFIG_N_KEYS];

/* The sections in a service, or in the defaults, that some of the keys stand in. */
#define CONFIG_N_SECTIONS 3
extern const char *const config_sections[CONFIG_N_SECTIONS];

bool config_value_boolean(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_number(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_duration(
	const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_choice(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A name of the database or any number that means somebody. */
bool config_value_user(const struct config_key *key, const char *text, uint64_t *ret, char *why);
bool config_value_group(const struct config_key *key, const char *text, uint64_t *ret, char *why);

/* A name or number that is in passwd(5). *ret_name is its name, allocated. */
bool config_value_account(
	const char *text, uid_t *ret_uid, gid_t *ret_gid, char **ret_name, char *why);

/* An attribute of the whole configuration. */
struct config_global {
	const char *name;
	/* Understand and store the value. Returns false with a sentence in `why`. */
	bool (*parse)(struct config *config, const char *text, char *why);
};

#define CONFIG_N_GLOBALS 3
extern const struct config_global config_globals[CONFIG_N_GLOBALS];

/* A service, or the defaults, while its section is being read. Zero-initialise. */
struct config_draft {
	struct config_service service;
	struct config_place given[CONFIG_N_KEYS]; /* where each key was; no file: nowhere yet */
};

/*
 * Take one value of `key`; `text` NULL: a list without values. `is_continued`: it is a further one
 * of the same list; otherwise the key is being given anew, which is an error if it was before.
 */
void config_draft_take(struct config_draft *draft, const struct config_key *key, const char *text,
	struct config_place place, bool is_continued, struct config_errors *errors);

/* The section has ended: it was called `name` and began at `place`. */
void config_draft_close(struct config_draft *draft, const char *name, struct config_place place,
	struct config_errors *errors);

/* Give a closed draft what it does not say itself. */
void config_draft_complete(
	struct config_draft *draft, struct config_draft *defaults, struct config_errors *errors);

/* Free what it has, and begin anew. */
void config_draft_clear(struct config_draft *draft);

/* For the schema, see struct config_key. */
void config_draft_add_listen(struct config_service *service, const char *text,
	struct config_place place, struct config_errors *errors);
void config_draft_add_forward(struct config_service *service, const char *text,
	struct config_place place, struct config_errors *errors);

/* Read `path` and what it includes into `config`, whose services are then in the order of reading.
 */
void config_parse(const char *path, struct config *config, struct config_errors *errors);

/* Sort the services, and look for what does not go together. */
void config_check(struct config *config, uint64_t fd_limit, struct config_errors *errors);
