/* SPDX-License-Identifier: MIT */
/*
 * usher-protocol(7) and wire.h say the same: this reads the source of the manual, whose path is the
 * argument, compares its tables and lengths with the structures, and decodes its examples.
 *
 * A row of a table is ".It OFFSET Ta TYPE Ta FIELD Ta ...", offsets in records count from the
 * record. A line of an example is the bytes of one field and "FIELD = VALUE"; more bytes of it may
 * follow on a line of their own, and "00*57" is a byte that is repeated. A field of the type
 * "bytes" is as long as the rest of the message.
 */
#include "test.h"
#include "wire.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_ROWS	  16
#define MAX_LINES	  64

struct field {
	const char *name, *type;
	size_t offset, size;
};

#define FIELD(structure, type, member)                                                             \
	{                                                                                          \
#member, type, offsetof(struct structure, member),                                 \
			sizeof(((struct structure *)NULL)->member)                                 \
	}
#define DATA(structure)                                                                            \
	{                                                                                          \
		"data", "bytes", sizeof(struct structure), 0                                       \
	}
#define ADDRESS(structure, member)                                                                 \
	FIELD(structure, "uint16", member.family), FIELD(structure, "net16", member.port),         \
		FIELD(structure, "uint32", member.scope_id),                                       \
		FIELD(structure, "bytes[16]", member.address)

/* The bytes of one field in an example, and what the manual says of them. */
struct line {
	char name[32], value[64];
	uint8_t bytes[512];
	size_t size;
};

/* One message: above what the structures say, below what was read in the manual. */
struct message {
	const char *name;
	enum wire_sender sender;
	size_t size, record_size, min_records, max_records;
	struct field fields[14]; /* after the header */
	struct field records[9]; /* of one record */
	size_t n_fds;		 /* that come with the example */

	size_t said_size, said_record_size, said_min, said_max;
	struct field rows[MAX_ROWS];
	char row_names[MAX_ROWS][32], row_types[MAX_ROWS][16];
	size_t n_rows;
	struct line lines[MAX_LINES];
	size_t n_lines;
};

static struct message header = {
	.name = "Header",
	.fields = {FIELD(wire_header, "uint16", type), FIELD(wire_header, "uint16", flags),
		FIELD(wire_header, "uint32", reserved)},
};

static struct message messages[] = {
	{"HELLO", WIRE_FROM_PROVIDER, sizeof(struct wire_hello),
		.fields = {FIELD(wire_hello, "uint16", version_lowest),
			FIELD(wire_hello, "uint16", version_highest),
			FIELD(wire_hello, "int32", credit), FIELD(wire_hello, "uint32", weight),
			FIELD(wire_hello, "uint32", holding), FIELD(wire_hello, "text[64]", name)}},
	{"WELCOME", WIRE_FROM_USHERD, sizeof(struct wire_welcome), sizeof(struct wire_listener), 0,
		WIRE_MAX_LISTENERS,
		.fields = {FIELD(wire_welcome, "uint16", version),
			FIELD(wire_welcome, "uint16", flags),
			FIELD(wire_welcome, "uint32", n_listeners),
			FIELD(wire_welcome, "text[64]", service)},
		.records = {FIELD(wire_listener, "uint32", type),
			{"reserved", "uint32", offsetof(struct wire_listener, index),
				sizeof(uint32_t)},
			ADDRESS(wire_listener, address)}},
	{"REFUSED", WIRE_FROM_USHERD, sizeof(struct wire_refused),
		.fields = {FIELD(wire_refused, "uint32", error),
			FIELD(wire_refused, "uint32", reserved),
			FIELD(wire_refused, "text[256]", reason)}},
	{"CONNECTIONS", WIRE_FROM_USHERD, sizeof(struct wire_connections),
		sizeof(struct wire_connection), 1, WIRE_MAX_CONNECTIONS,
		.records = {FIELD(wire_connection, "uint64", sequence),
			FIELD(wire_connection, "uint64", id),
			FIELD(wire_connection, "uint64", accepted_ns),
			FIELD(wire_connection, "uint32", listener),
			FIELD(wire_connection, "uint32", reserved),
			ADDRESS(wire_connection, peer)}},
	{"LISTENERS", WIRE_FROM_USHERD, sizeof(struct wire_listeners), sizeof(struct wire_listener),
		0, WIRE_MAX_CONNECTIONS,
		.records = {FIELD(wire_listener, "uint32", type),
			FIELD(wire_listener, "uint32", index), ADDRESS(wire_listener, address)},
		.n_fds = 2},
	{"CLAIM", WIRE_FROM_PROVIDER, sizeof(struct wire_claim),
		.fields = {FIELD(wire_claim, "uint64", sequence)}},
	{"RELEASE", WIRE_FROM_PROVIDER, sizeof(struct wire_release), sizeof(uint64_t), 1,
		WIRE_MAX_RELEASES, .records = {{"id", "uint64", 0, sizeof(uint64_t)}}},
	{"CREDIT", WIRE_FROM_PROVIDER, sizeof(struct wire_credit),
		.fields = {FIELD(wire_credit, "uint64", sequence),
			FIELD(wire_credit, "int32", credit),
			FIELD(wire_credit, "uint32", reserved)}},
	{"DECLINE", WIRE_FROM_PROVIDER, sizeof(struct wire_decline),
		.fields = {FIELD(wire_decline, "uint64", first),
			FIELD(wire_decline, "uint64", last)}},
	{"FORWARD", WIRE_FROM_PROVIDER, sizeof(struct wire_forward), 1, 0, WIRE_MAX_FORWARDED_BYTES,
		.fields = {FIELD(wire_forward, "uint64", id),
			FIELD(wire_forward, "text[64]", service), ADDRESS(wire_forward, peer),
			DATA(wire_forward)},
		.n_fds = 1},
	{"STATUS", WIRE_FROM_PROVIDER, sizeof(struct wire_status),
		.fields = {FIELD(wire_status, "text[256]", text)}},
	{"DRAIN", WIRE_FROM_PROVIDER, sizeof(struct wire_drain)},
	{"DRAINING", WIRE_FROM_USHERD, sizeof(struct wire_draining),
		.fields = {FIELD(wire_draining, "uint32", reason),
			FIELD(wire_draining, "uint32", reserved)}},
	{"FORWARDED", WIRE_FROM_USHERD, sizeof(struct wire_forwarded), 1, 0,
		WIRE_MAX_FORWARDED_BYTES,
		.fields = {FIELD(wire_forwarded, "uint64", connection.sequence),
			FIELD(wire_forwarded, "uint64", connection.id),
			FIELD(wire_forwarded, "uint64", connection.accepted_ns),
			FIELD(wire_forwarded, "uint32", connection.listener),
			FIELD(wire_forwarded, "uint32", connection.reserved),
			ADDRESS(wire_forwarded, connection.peer),
			FIELD(wire_forwarded, "text[64]", from),
			FIELD(wire_forwarded, "uint32", n_hops),
			FIELD(wire_forwarded, "uint32", reserved), DATA(wire_forwarded)},
		.n_fds = 1},
};

static struct message *find_message(const char *name)
{
	for (size_t i = 0; i < N_ELEMENTS(messages); i++)
		if (strcmp(messages[i].name, name) == 0)
			return &messages[i];
	return strcmp(name, header.name) == 0 ? &header : NULL;
}

/* Read ".It 8 Ta uint16 Ta version_lowest Ta ..." if it is that. */
static void read_row(struct message *m, const char *text)
{
	struct field *row = &m->rows[m->n_rows];
	char *name = m->row_names[m->n_rows], *type = m->row_types[m->n_rows];

	if (sscanf(text, ".It %zu Ta %15s Ta %31s", &row->offset, type, name) != 3)
		return;
	assert_true(m->n_rows < MAX_ROWS - 1);
	row->name = name;
	row->type = type;
	m->n_rows++;
}

/* Append the bytes at the beginning of `text` to `line`. Returns what follows them. */
static const char *read_bytes(struct line *line, const char *text)
{
	unsigned int byte, n_times;
	int n_read, n_more;

	while (sscanf(text, " %2x%n", &byte, &n_read) == 1 && !isalnum((uint8_t)text[n_read])) {
		text += n_read;
		n_times = 1;
		if (sscanf(text, "*%u%n", &n_times, &n_more) == 1)
			text += n_more;
		assert_true(line->size + n_times <= sizeof(line->bytes));
		memset(line->bytes + line->size, (int)byte, n_times);
		line->size += n_times;
	}
	return text;
}

/* Read "01 00   version = 1", "00*57", or the name of the message. */
static void read_example(struct message *m, const char *text)
{
	struct line line = {.size = 0};
	const char *rest = read_bytes(&line, text);

	if (line.size == 0) {
		assert_string_equal(text, m->name);
	} else if (sscanf(rest, " %31s = %63[^\n]", line.name, line.value) == 2) {
		assert_true(m->n_lines < MAX_LINES);
		m->lines[m->n_lines++] = line;
	} else { /* more bytes of the same field */
		assert_true(m->n_lines > 0);
		read_bytes(&m->lines[m->n_lines - 1], text);
	}
}

/* Read "8 bytes.", "8 bytes and 1 to 16 records of 56 bytes." or "... 0 to 9 bytes of data." */
static void read_length(struct message *m, const char *text)
{
	int n_read = 0;

	(void)sscanf(text, "%zu bytes and %zu to %zu records of %zu bytes", &m->said_size,
		&m->said_min, &m->said_max, &m->said_record_size);
	(void)sscanf(text, "%*u bytes and %*u to %*u bytes of data%n", &n_read);
	if (n_read > 0)
		m->said_record_size = 1;
}

/* Read the manual. Returns false, with a message, if it cannot be opened. */
static bool read_manual(const char *path)
{
	FILE *file = fopen(path, "re");
	struct message *current = NULL;
	bool is_example = false;
	char text[512];

	if (!file) {
		perror(path);
		return false;
	}
	while (fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\n")] = '\0';
		if (strncmp(text, ".Ss ", 4) == 0 || strncmp(text, ".Sh ", 4) == 0)
			current = find_message(text + 4);
		else if (strncmp(text, ".Bd ", 4) == 0 || strcmp(text, ".Ed") == 0)
			is_example = text[1] == 'B';
		else if (current && is_example)
			read_example(current, text);
		else if (current && text[0] == '.')
			read_row(current, text);
		else if (current && isdigit((uint8_t)text[0]))
			read_length(current, text);
	}
	fclose(file);
	return true;
}

static size_t count_fields(const struct field *fields, size_t max)
{
	size_t n = 0;

	while (n < max && fields[n].name)
		n++;
	return n;
}

/* The field in the `i`th line of an example of `m`, and where it is in the message. */
static const struct field *field_of_line(const struct message *m, size_t i, size_t *ret_offset)
{
	size_t n_header = count_fields(header.fields, N_ELEMENTS(header.fields));
	size_t n_fixed = count_fields(m->fields, N_ELEMENTS(m->fields));
	size_t n_record = count_fields(m->records, N_ELEMENTS(m->records));
	const struct field *field = NULL;
	size_t base = 0;

	if (i < n_header) {
		field = &header.fields[i];
	} else if (i < n_header + n_fixed) {
		field = &m->fields[i - n_header];
	} else {
		assert_true(n_record > 0);
		i -= n_header + n_fixed;
		field = &m->records[i % n_record];
		base = m->size + i / n_record * m->record_size;
	}
	*ret_offset = base + field->offset;
	return field;
}

/* The value of a field in the notation of the manual. */
static void format_value(const struct field *field, const uint8_t *bytes, size_t size, char ret[64])
{
	uint64_t number = 0;

	if (strcmp(field->type, "bytes") == 0) {
		snprintf(ret, 64, "%.*s", (int)size, (const char *)bytes);
	} else if (strncmp(field->type, "text", 4) == 0) {
		snprintf(ret, 64, "%s", (const char *)bytes);
	} else if (strcmp(field->type, "bytes[16]") == 0) {
		static const uint8_t zeros[12];
		bool is_ipv4 = memcmp(bytes + 4, zeros, sizeof(zeros)) == 0;

		assert_non_null(inet_ntop(is_ipv4 ? AF_INET : AF_INET6, bytes, ret, 64));
	} else if (strcmp(field->type, "net16") == 0) {
		snprintf(ret, 64, "%u", (unsigned int)(bytes[0] << 8 | bytes[1]));
	} else {
		memcpy(&number, bytes, size); /* little-endian: see main() */
		if (strcmp(field->type, "int32") == 0)
			snprintf(ret, 64, "%" PRId32, (int32_t)number);
		else
			snprintf(ret, 64, "%" PRIu64, number);
	}
}

/* Put the example of `m` together. Returns its size. */
static size_t assemble(const struct message *m, union wire_message *ret)
{
	size_t size = 0;

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < m->n_lines; i++) {
		memcpy(ret->bytes + size, m->lines[i].bytes, m->lines[i].size);
		size += m->lines[i].size;
	}
	return size;
}

static void test_every_message_is_in_the_manual_with_an_example(void **state)
{
	size_t n_found = 0;

	(void)state;
	for (uint32_t type = 0; type <= UINT16_MAX; type++) {
		const char *name = wire_type_name((uint16_t)type);
		const struct message *m = find_message(name);

		if (strcmp(name, "unknown") == 0)
			continue;
		if (!m || m->n_lines == 0)
			fail_msg("%s has no example", name);
		n_found++;
	}
	assert_int_equal(n_found, N_ELEMENTS(messages));
}

static void test_lengths_are_those_of_the_structures(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(messages); i++) {
		const struct message *m = &messages[i];

		if (m->said_size != m->size || m->said_record_size != m->record_size ||
			m->said_min != m->min_records || m->said_max != m->max_records)
			fail_msg("%s: not the length in the manual: %zu, %zu to %zu of %zu",
				m->name, m->said_size, m->said_min, m->said_max,
				m->said_record_size);
	}
}

/* The rows `from` and following are these fields. Returns the row after them. */
static size_t check_rows(const struct message *m, size_t from, const struct field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct field *row = &m->rows[from + i];

		if (from + i >= m->n_rows)
			fail_msg("%s: no row for %s", m->name, fields[i].name);
		assert_string_equal(row->name, fields[i].name);
		assert_string_equal(row->type, fields[i].type);
		if (row->offset != fields[i].offset)
			fail_msg("%s: %s is at %zu", m->name, fields[i].name, fields[i].offset);
	}
	return from + n;
}

static void test_tables_are_the_structures(void **state)
{
	size_t n = count_fields(header.fields, N_ELEMENTS(header.fields));

	(void)state;
	assert_int_equal(check_rows(&header, 0, header.fields, n), header.n_rows);
	for (size_t i = 0; i < N_ELEMENTS(messages); i++) {
		const struct message *m = &messages[i];

		n = check_rows(m, 0, m->fields, count_fields(m->fields, N_ELEMENTS(m->fields)));
		n = check_rows(m, n, m->records, count_fields(m->records, N_ELEMENTS(m->records)));
		if (n != m->n_rows)
			fail_msg("%s: %zu rows, expected %zu", m->name, m->n_rows, n);
	}
}

/* The size that the name of a type says: "uint16", "net16", "text[64]". */
static size_t size_of_type(const char *type)
{
	size_t number = strtoul(type + strcspn(type, "0123456789"), NULL, 10);

	return strchr(type, '[') ? number : number / 8;
}

static void test_types_are_as_long_as_their_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(messages); i++) {
		const struct message *m = &messages[i];

		for (size_t j = 0; j < N_ELEMENTS(m->fields) && m->fields[j].name; j++)
			assert_int_equal(size_of_type(m->fields[j].type), m->fields[j].size);
		for (size_t j = 0; j < N_ELEMENTS(m->records) && m->records[j].name; j++)
			assert_int_equal(size_of_type(m->records[j].type), m->records[j].size);
	}
}

static void test_examples_are_well_formed(void **state)
{
	static union wire_message message;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(messages); i++) {
		const struct message *m = &messages[i];
		size_t size = assemble(m, &message);
		const char *why;

		if (wire_check(&message, size, m->n_fds, m->sender, &why) != 0)
			fail_msg("%s: %s", m->name, why);
		assert_string_equal(wire_type_name(message.header.type), m->name);
	}
}

static void test_examples_decode_to_what_the_manual_says(void **state)
{
	static union wire_message message;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(messages); i++) {
		const struct message *m = &messages[i];
		size_t at = 0;

		assemble(m, &message);
		for (size_t j = 0; j < m->n_lines; j++) {
			const struct line *line = &m->lines[j];
			size_t offset, length;
			const struct field *field = field_of_line(m, j, &offset);
			char value[64];

			assert_string_equal(line->name, field->name);
			if (at != offset || (field->size != 0 && line->size != field->size))
				fail_msg("%s: %s has %zu bytes at %zu", m->name, line->name,
					line->size, at);
			format_value(field, message.bytes + offset, line->size, value);
			length = strlen(value);
			if (strncmp(line->value, value, length) != 0 ||
				(line->value[length] != '\0' && line->value[length] != ' '))
				fail_msg("%s: %s is %s", m->name, line->name, value);
			at += line->size;
		}
	}
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		check_test(test_every_message_is_in_the_manual_with_an_example),
		check_test(test_lengths_are_those_of_the_structures),
		check_test(test_tables_are_the_structures),
		check_test(test_types_are_as_long_as_their_fields),
		check_test(test_examples_are_well_formed),
		check_test(test_examples_decode_to_what_the_manual_says),
	};

	if (htons(1) == 1) {
		printf("1..0 # SKIP the examples are little-endian\n");
		return 0;
	}
	if (argc != 2 || !read_manual(argv[1]))
		return 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
