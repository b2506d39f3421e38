/* SPDX-License-Identifier: MIT */
/* Lines and words of inetd.conf: see inetd-conf.h. */
#include "inetd-conf-private.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t"

/* Lines are cited in comments that far. */
#define MAX_CITATION 500

bool inetd_conf_refuse(struct inetd_conf *conf, const char *format, ...)
{
	char sentence[1024];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	translation_warn(conf->translation, conf->place, "%s; the line is left out", sentence);
	return false;
}

bool inetd_conf_read_number(const char *text, uint32_t most, uint32_t *ret)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (*end || errno != 0 || value > most)
		return false;
	*ret = (uint32_t)value;
	return true;
}

char *inetd_conf_cut(char *text, const char *separators)
{
	char *at = strpbrk(text, separators);

	if (!at)
		return NULL;
	*at = '\0';
	return at + 1;
}

/* The next word from *at on, which it overwrites. NULL: there is none. */
static char *next_word(char **at)
{
	char *from = *at + strspn(*at, BLANKS), *word = from, *to = from;

	if (*from == '\0')
		return NULL;
	while (*from && !strchr(BLANKS, *from)) {
		char *end = *from == '\'' || *from == '"' ? strchr(from + 1, *from) : NULL;

		if (end) {
			memmove(to, from + 1, (size_t)(end - from) - 1);
			to += end - from - 1;
			from = end + 1;
		} else {
			*to++ = *from++;
		}
	}
	*at = *from ? from + 1 : from;
	*to = '\0';
	return word;
}

/* "HOST:" alone: the default from here on. */
static void set_hosts(struct inetd_conf *conf, const char *hosts)
{
	free(conf->hosts);
	conf->hosts = strdup(hosts);
	if (!conf->hosts)
		conf->translation->is_out_of_memory = true;
}

/* Things that look like a line and are none. */
static bool check_form(struct inetd_conf *conf, const struct inetd_entry *entry)
{
	char *const *fields = entry->fields;

	if (*fields[0] == '.')
		return inetd_conf_refuse(conf,
			"directives of NetBSD such as '%s' are not carried out, expected "
			"inetd_conf() of usher.conf(5) for each file",
			fields[0]);
	if (entry->n_fields > 1 &&
		(strncmp(fields[1], "on", 2) == 0 || strncmp(fields[1], "off", 3) == 0))
		return inetd_conf_refuse(conf,
			"NetBSD's key-values notation is not understood, expected the positional "
			"one");
	if (entry->n_fields > INETD_FIELD_PROTOCOL &&
		strncmp(fields[INETD_FIELD_PROTOCOL], "rpc/", strlen("rpc/")) == 0)
		return true; /* it has a reason of its own */
	if (entry->n_fields <= INETD_FIELD_PROGRAM)
		return inetd_conf_refuse(conf,
			"there are %zu fields, expected service, type, protocol, wait or nowait, "
			"user and program",
			entry->n_fields);
	return true;
}

static bool translate_entry(struct inetd_conf *conf, struct inetd_entry *entry)
{
	struct translation_service *service;

	if (!check_form(conf, entry) || !inetd_entry_read_socket(conf, entry))
		return false;
	service = translation_add_service(conf->translation, inetd_entry_name(entry), conf->place);
	if (!service)
		return false;
	service->suffix = inetd_entry_suffix(entry);
	service->replaces = true;
	if (!inetd_entry_add_socket(conf, entry, service) ||
		!inetd_entry_add_program(conf, entry, service)) {
		translation_drop_service(conf->translation);
		return false;
	}
	service->comment = translation_move_comment(conf->translation);
	return true;
}

/* A line that is no comment and not empty, in words. */
static bool translate_words(struct inetd_conf *conf, char **words, size_t n_words)
{
	struct inetd_entry entry = {.fields = words, .n_fields = n_words};
	size_t length = strlen(words[0]);

	if (n_words == 1 && length > 0 && words[0][length - 1] == ':') {
		words[0][length - 1] = '\0';
		set_hosts(conf, words[0]);
		return true;
	}
	return translate_entry(conf, &entry);
}

/* The line is left out: keep it as a comment. */
static void cite_line(struct inetd_conf *conf, const char *line)
{
	char comment[MAX_CITATION + 32];
	int length = snprintf(comment, sizeof(comment), "# left out: %.*s", MAX_CITATION, line);

	translation_add_comment(conf->translation, comment, (size_t)length);
	translation_add_comment(conf->translation, "", 0);
}

static bool translate_text(struct inetd_conf *conf, char *line)
{
	char **words = calloc(strlen(line) / 2 + 2, sizeof(*words));
	size_t n = 0;
	bool is_right;

	if (!words) {
		conf->translation->is_out_of_memory = true;
		return true;
	}
	for (char *word; (word = next_word(&line));)
		words[n++] = word;
	is_right = n == 0 || translate_words(conf, words, n);
	free(words);
	return is_right;
}

static void translate_line(struct inetd_conf *conf, const char *line, size_t length)
{
	char *copy = strndup(line, length), *citation = strndup(line, length);

	if (!copy || !citation) {
		conf->translation->is_out_of_memory = true;
	} else {
		for (char *at = copy; *at; at++) /* it may go over several lines */
			if (*at == '\t' || *at == '\n' || *at == '\r')
				citation[at - copy] = *at = ' ';
		if (!translation_is_text(copy))
			(void)inetd_conf_refuse(conf, "the line has a control character or is not "
						      "UTF-8, expected a text");
		else if (translate_text(conf, copy))
			*citation = '\0';
		if (*citation)
			cite_line(conf, citation);
	}
	free(copy);
	free(citation);
}

/* '#', an IPsec policy of BSD, or an empty line. */
static void take_comment(struct inetd_conf *conf, const char *line, size_t length)
{
	if (length > 1 && (line[1] == '@' || line[1] == '!'))
		translation_warn(conf->translation, conf->place,
			"the IPsec policy is not set: set it with ip-xfrm(8) or its like");
	translation_add_comment(conf->translation, line, length);
}

/* How long is the line, with those that continue it? *ret_n: how many these are. */
static size_t line_length(const char *line, int *ret_n)
{
	size_t length = strcspn(line, "\n");
	int n = 1;

	while (*line != '#' && *line != '\0' && line[length] == '\n' && line[length + 1] &&
		strchr(BLANKS, line[length + 1])) {
		length += 1 + strcspn(line + length + 1, "\n");
		n++;
	}
	*ret_n = n;
	return length;
}

void inetd_conf_translate(struct translation *translation, const char *file, const char *text,
	const struct translation_facts *facts)
{
	struct inetd_conf conf = {.translation = translation,
		.facts = facts,
		.place = {translation_add_file(translation, file), 1}};

	while (*text) {
		int n_lines;
		size_t length = line_length(text, &n_lines);

		if (*text == '#' || length == 0)
			take_comment(&conf, text, length);
		else
			translate_line(&conf, text, length);
		conf.place.line += n_lines;
		text += length + (text[length] == '\n');
	}
	free(conf.hosts);
}
