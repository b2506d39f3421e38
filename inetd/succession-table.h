/* SPDX-License-Identifier: MIT */
/*
 * Plain structures as JSON and back, by tables that say which member is what.
 *
 * Writing and reading go by the same table, so they cannot drift apart. Reading is strict: what is
 * missing, unknown, or not of its type or range is refused, with its place. Nothing here knows what
 * the members mean.
 *
 * Invariant: what table_read() has accepted can be written again, and comes out the same.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a member is in C, and in JSON. */
enum table_type {
	TABLE_BOOL,   /* bool: true or false */
	TABLE_UINT32, /* uint32_t: a number */
	TABLE_UINT64, /* uint64_t: a number, up to INT64_MAX */
	TABLE_INT64,  /* int64_t: a number */
	TABLE_FD, /* int, a descriptor above the standard ones, -EBADF for none: a number or null */
	TABLE_TEXT,  /* char[] with a NUL: a string */
	TABLE_BYTES, /* a member of any type, as it lies in memory: hexadecimal digits */
	TABLE_DATA,  /* uint8_t * from malloc and a size_t: hexadecimal digits */
	TABLE_LIST,  /* a pointer from malloc and a size_t: an array */
};

struct table;

struct table_member {
	const char *name;
	enum table_type type;
	size_t offset;
	size_t size;		   /* bytes of TEXT and BYTES */
	size_t n_offset;	   /* DATA, LIST: of the size_t that says how many */
	const struct table *items; /* LIST */
	uint64_t max;		   /* UINT32, UINT64: the value; DATA, LIST: how many; 0: any */
	unsigned int since;	   /* the first format that has it; in older ones it is zero */
	bool may_lack;		   /* not of rows: zero, too, where that format has it not yet */
};

/* A struct: as a JSON object, or, where there may be very many, as an array in the table's order.
 */
struct table {
	const struct table_member *members;
	size_t n_members;
	size_t size; /* of the struct */
	bool is_row;
};

/* A new reference, or NULL when out of memory. */
json_t *table_write(const struct table *table, const void *value);

/*
 * Read `json`, which was written in `format`, into *ret (free with table_done()).
 *
 * Returns 0; -EINVAL with a sentence in `why` ("services[3].providers[0].credit: is missing");
 * -ENOMEM. On failure there is nothing to free.
 */
int table_read(const struct table *table, unsigned int format, const json_t *json, void *ret,
	char *why, size_t why_size);

/* Free the lists and data in *value. Descriptors are not closed: see table_visit_fds(). */
void table_done(const struct table *table, void *value);

/* Call `visit` for every descriptor in *value until it returns a negative errno, which is returned,
 * else 0. It may change the descriptor. */
int table_visit_fds(const struct table *table, void *value, int (*visit)(int *fd, void *userdata),
	void *userdata);
