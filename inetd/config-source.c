/* SPDX-License-Identifier: MIT */
/*
 * One configuration file as text: opened, checked and read in one go, so that what was checked is
 * what is parsed.
 *
 * libconfuse 3.3 counts each comment as several lines, does not mind a comment or a section without
 * an end, skips characters it does not know, puts in environment variables, and tells nobody of a
 * list without values. So the text is walked through once before: comments become spaces, "{}" a
 * value that stands for it, and what would be misunderstood is refused here, with its line. The
 * rules for words, strings and comments are those of libconfuse's scanner.
 *
 * Invariant: libconfuse finds the same tokens in the text as in the file, on the lines they stand
 * on, and values are UTF-8 without control characters.
 */
#include "config-private.h"
#include "fd.h"
#include "wire.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOT_IN_WORDS " #\"'\t\n\r={}()+,*"

struct scan {
	struct config_source *source;
	struct config_errors *errors;
	struct config_place place;
	char *at;
	unsigned int depth; /* of braces */
	char previous;	    /* what the last token began with */
	char *list;	    /* the last '{', if a list begins with it */
};

static void scan_error(struct scan *scan, const char *what)
{
	config_errors_add(scan->errors, scan->place, "%s", what);
}

/* Blank what stands from here to `end`, but for its newlines, and go there. */
static void skip_blanking(struct scan *scan, char *end)
{
	for (; scan->at < end; scan->at++) {
		if (*scan->at == '\n')
			scan->place.line++;
		else
			*scan->at = ' ';
	}
}

static void skip_line_comment(struct scan *scan)
{
	skip_blanking(scan, scan->at + strcspn(scan->at, "\n"));
}

static void skip_block_comment(struct scan *scan)
{
	char *end = strstr(scan->at + 2, "*/");

	if (!end) {
		scan_error(scan, "this comment has no end, expected \"*/\"");
		scan->at += strlen(scan->at);
		return;
	}
	skip_blanking(scan, end + 2);
}

/* What stands from `begin` to here goes to logs, terminals and JSON. */
static void check_text(struct scan *scan, const char *begin)
{
	for (size_t length; begin < scan->at; begin += length) {
		length = wire_character_length(begin);
		if (length > 0)
			continue;
		scan_error(scan, "this line has a control character or is not UTF-8, expected a "
				 "text");
		return;
	}
}

static void refuse_variable(struct scan *scan)
{
	scan_error(scan, "environment variables are not put in, expected the value itself instead "
			 "of \"${\"");
}

/* libconfuse makes control characters of some: no value has any. */
static void check_escape(struct scan *scan, char quote)
{
	if (quote == '"' && isalnum((unsigned char)scan->at[1]))
		config_errors_add(scan->errors, scan->place,
			"unknown escape '\\%c', expected \\\\ for a backslash", scan->at[1]);
}

static void skip_string(struct scan *scan)
{
	const char *begin = scan->at;
	char quote = *scan->at++;

	for (; *scan->at != quote; scan->at++) {
		if (*scan->at == '\\' && scan->at[1] != '\n' && scan->at[1] != '\0') {
			check_escape(scan, quote);
			scan->at++;
		} else if (*scan->at == '\n' || *scan->at == '\0') {
			scan_error(scan, "this line has an opening quote, expected a closing one");
			return;
		} else if (quote == '"' && strncmp(scan->at, "${", 2) == 0) {
			refuse_variable(scan);
		}
	}
	check_text(scan, begin);
	scan->at++;
}

/* Returns its length, which may be 0. */
static size_t skip_word(struct scan *scan)
{
	const char *begin = scan->at;
	size_t length = strcspn(begin, NOT_IN_WORDS);

	scan->at += length;
	check_text(scan, begin);
	return length;
}

/*
 * Only include("FILE") and its like have parentheses. libconfuse leaks what stands in them if it is
 * anything else.
 */
static void skip_call(struct scan *scan)
{
	static const char blanks[] = " \t";
	const char *first;

	scan->at++;
	scan->at += strspn(scan->at, blanks);
	first = scan->at;
	if (*first == '"' || *first == '\'')
		skip_string(scan);
	else
		skip_word(scan);
	if (scan->at == first || scan->at[strspn(scan->at, blanks)] != ')')
		scan_error(scan, "unclear '(', expected a file and ')', as in include(\"FILE\")");
}

static void open_brace(struct scan *scan)
{
	int *line;

	scan->list = scan->previous == '=' && scan->depth > 0 ? scan->at : NULL;
	scan->at++;
	if (scan->depth++ > 0)
		return;
	line = config_array_add(&scan->source->section_lines, &scan->source->n_sections,
		sizeof(*line), scan->errors);
	if (line)
		*line = scan->place.line;
}

static void close_brace(struct scan *scan)
{
	if (scan->previous == '{' && scan->list) {
		*scan->list = CONFIG_EMPTY_LIST;
		*scan->at = ' ';
	}
	scan->at++;
	if (scan->depth > 0)
		scan->depth--;
}

/* What is no string, brace or call: a word, or one character. */
static void skip_token(struct scan *scan)
{
	if (*scan->at == '*' || (*scan->at == '+' && scan->at[1] != '='))
		config_errors_add(scan->errors, scan->place,
			"unexpected '%c', expected quotes around a value that has one", *scan->at);
	if (strncmp(scan->at, "${", 2) == 0)
		refuse_variable(scan);
	if (skip_word(scan) == 0)
		scan->at++;
}

static void scan_token(struct scan *scan)
{
	char first = *scan->at;

	if (first == '"' || first == '\'')
		skip_string(scan);
	else if (first == '{')
		open_brace(scan);
	else if (first == '}')
		close_brace(scan);
	else if (first == '(')
		skip_call(scan);
	else
		skip_token(scan);
	if (!strchr(" \t\r", first))
		scan->previous = first;
}

static void scan_text(struct scan *scan)
{
	while (*scan->at) {
		if (*scan->at == '\n') {
			scan->place.line++;
			scan->at++;
		} else if (*scan->at == '#' || strncmp(scan->at, "//", 2) == 0) {
			skip_line_comment(scan);
		} else if (strncmp(scan->at, "/*", 2) == 0) {
			skip_block_comment(scan);
		} else {
			scan_token(scan);
		}
	}
}

/* libconfuse takes the end of the file for that of all sections. */
static void check_braces(struct scan *scan)
{
	const struct config_source *source = scan->source;

	if (scan->depth == 0 || source->n_sections == 0)
		return;
	scan->place.line = source->section_lines[source->n_sections - 1];
	scan_error(scan, "the '{' of this line has no end, expected a '}' for it");
}

/* A file that somebody else can change is somebody else's configuration. */
static bool check_file(
	const struct stat *st, struct config_place place, struct config_errors *errors)
{
	if (!S_ISREG(st->st_mode))
		config_errors_add(errors, place, "is not a regular file, expected one");
	else if (st->st_uid != 0 && st->st_uid != geteuid())
		config_errors_add(errors, place,
			"belongs to the user with the id %u, expected root or the user who runs "
			"this",
			st->st_uid);
	else if (st->st_mode & (S_IWGRP | S_IWOTH))
		config_errors_add(errors, place,
			"is writable by others than its owner (mode %04o), expected chmod go-w",
			st->st_mode & 07777u);
	else if (st->st_size > CONFIG_MAX_FILE_BYTES)
		config_errors_add(errors, place, "has more than %u bytes, expected fewer",
			CONFIG_MAX_FILE_BYTES);
	else
		return true;
	return false;
}

/* Read at most `size` bytes. Returns how many, or a negative errno. */
static ssize_t read_all(int fd, char *buffer, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t r = read(fd, buffer + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

static bool read_text(int fd, const struct stat *st, struct config_source *source,
	struct config_place place, struct config_errors *errors)
{
	ssize_t n;

	source->text = malloc((size_t)st->st_size + 2);
	if (!source->text) {
		errors->is_out_of_memory = true;
		return false;
	}
	n = read_all(fd, source->text, (size_t)st->st_size);
	if (n < 0) {
		config_errors_add(errors, place, "cannot be read: %s", strerror((int)-n));
		return false;
	}
	source->size = (size_t)n;
	if (n == 0 || source->text[n - 1] != '\n')
		source->text[source->size++] = '\n';
	source->text[source->size] = '\0';
	if (strlen(source->text) != source->size) {
		config_errors_add(errors, place, "has a NUL byte, expected a text");
		return false;
	}
	return true;
}

/* Whoever starts usherd may read other files than the user that it becomes, and reloads as. */
static void report_unreadable(struct config_place place, int error, struct config_errors *errors)
{
	const struct passwd *user = error == EACCES ? getpwuid(geteuid()) : NULL;

	if (user)
		config_errors_add(errors, place,
			"cannot be opened: %s, expected that the user '%s', who runs this, may "
			"read it",
			strerror(error), user->pw_name);
	else
		config_errors_add(errors, place, "cannot be opened: %s", strerror(error));
}

bool config_source_read_plain(
	const char *file, struct config_source *ret, struct config_errors *errors)
{
	struct config_source source = {0};
	struct config_place place = {.file = file};
	struct stat st;
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0) {
		report_unreadable(place, errno, errors);
		return false;
	}
	if (!check_file(&st, place, errors))
		return false;
	source.device = st.st_dev;
	source.inode = st.st_ino;
	if (!read_text(fd, &st, &source, place, errors)) {
		config_source_done(&source);
		return false;
	}
	*ret = source;
	return true;
}

bool config_source_read(const char *file, struct config_source *ret, struct config_errors *errors)
{
	struct config_source source;
	struct scan scan = {
		.source = &source, .errors = errors, .place = {.file = file, .line = 1}};
	size_t n_before = errors->n_lines;

	if (!config_source_read_plain(file, &source, errors))
		return false;
	scan.at = source.text;
	scan_text(&scan);
	check_braces(&scan);
	if (errors->n_lines > n_before || errors->is_out_of_memory) {
		config_source_done(&source);
		return false;
	}
	*ret = source;
	return true;
}

void config_source_done(struct config_source *source)
{
	free(source->text);
	free(source->section_lines);
	*source = (struct config_source){0};
}
