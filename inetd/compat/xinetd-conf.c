/* SPDX-License-Identifier: MIT */
/* Files, sections and lines of xinetd.conf: see xinetd-conf.h. */
#include "xinetd-conf-private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLANKS " \t\r\f\v"

/* An include that goes deeper is taken for one that includes itself. */
#define MAX_DEPTH 16
#define MAX_FILES 4096

/* A file while it is read. */
struct text {
	struct xinetd_conf *conf;
	const char *at;
	struct translation_place place; /* of the line that was read last */
	char *line;			/* it, without the newline; to be freed */
};

static void warn(struct text *text, const char *sentence)
{
	translation_warn(text->conf->translation, text->place, "%s", sentence);
}

static bool is_comment(const char *line)
{
	line += strspn(line, BLANKS);
	return *line == '#' || *line == '\0';
}

/* The next line that is no comment; comments are collected. NULL: the file is over. */
static char *next_line(struct text *text)
{
	while (*text->at) {
		size_t length = strcspn(text->at, "\n");
		size_t begin = strspn(text->at, BLANKS);

		free(text->line);
		text->line = strndup(text->at, length);
		text->at += length + (text->at[length] == '\n');
		text->place.line++;
		if (!text->line) {
			text->conf->translation->is_out_of_memory = true;
			return NULL;
		}
		if (!is_comment(text->line))
			return text->line;
		if (begin > length)
			begin = length;
		translation_add_comment(
			text->conf->translation, text->line + begin, length - begin);
	}
	return NULL;
}

static bool is_only(const char *line, char c)
{
	line += strspn(line, BLANKS);
	return *line == c && line[1 + strspn(line + 1, BLANKS)] == '\0';
}

/* Go on after the '}' of a section that is not understood. */
static void skip_entry(struct text *text)
{
	for (const char *line; (line = next_line(text));)
		if (is_only(line, '}'))
			return;
}

/* The next word from *at on, which it ends with a NUL. NULL: there is none. */
static char *next_word(char **at)
{
	char *word = *at + strspn(*at, BLANKS);

	if (*word == '\0')
		return NULL;
	*at = word + strcspn(word, BLANKS);
	if (**at)
		*(*at)++ = '\0';
	return word;
}

static struct xinetd_entry *add_entry(struct text *text, const char *name)
{
	struct xinetd_conf *conf = text->conf;
	struct xinetd_entry **entries =
		reallocarray(conf->entries, conf->n_entries + 1, sizeof(struct xinetd_entry *));
	struct xinetd_entry *entry = calloc(1, sizeof(*entry));
	char *copy = name ? strdup(name) : NULL;

	if (entries)
		conf->entries = entries;
	if (!entries || !entry || (name && !copy)) {
		conf->translation->is_out_of_memory = true;
		free(entry);
		free(copy);
		return NULL;
	}
	*entry = (struct xinetd_entry){.name = copy, .place = text->place};
	conf->entries[conf->n_entries++] = entry;
	return entry;
}

/* "=", "+=" or "-=" */
static bool read_operator(const char *word, enum xinetd_operator *ret)
{
	static const char *const operators[] = {
		[XINETD_SET] = "=", [XINETD_ADD] = "+=", [XINETD_REMOVE] = "-="};

	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		if (strcmp(word, operators[i]) != 0)
			continue;
		*ret = (enum xinetd_operator)i;
		return true;
	}
	return false;
}

/* What stands after the operator, in words. */
static bool read_values(struct text *text, struct xinetd_line *line, char *at)
{
	line->values = calloc(strlen(at) / 2 + 1, sizeof(*line->values));
	if (!line->values) {
		text->conf->translation->is_out_of_memory = true;
		return false;
	}
	for (char *word; (word = next_word(&at));)
		line->values[line->n_values++] = word;
	if (line->n_values <= TRANSLATION_MAX_TEXTS)
		return true;
	warn(text, "there are too many values; the service is left out");
	return false;
}

/* A line of a section. Returns whether it is understood; attributes that are unknown are said and
 * forgotten. */
static bool read_line(struct text *text, struct xinetd_line *line)
{
	char *at = line->text, *name, *operator;

	if (!translation_is_text(at)) {
		warn(text, "the line has a control character or is not UTF-8, expected a text; "
			   "the service is left out");
		return false;
	}
	name = next_word(&at);
	operator= next_word(&at);
	if (!operator|| !read_operator(operator, & line->operator)) {
		warn(text, "there is no operator, expected =, += or -= between blanks; the "
			   "service is left out");
		return false;
	}
	line->key = xinetd_entry_find_key(name);
	if (line->key == XINETD_N_KEYS)
		translation_warn(text->conf->translation, text->place,
			"unknown attribute '%s', which is ignored, as xinetd does", name);
	return read_values(text, line, at);
}

static void free_line(struct xinetd_line *line)
{
	free(line->values);
	free(line->text);
}

/* Tabs are blanks here, and would be control characters in a value. */
static void replace_tabs(char *line)
{
	for (char *at = line; (at = strpbrk(at, BLANKS)); at++)
		*at = ' ';
}

static void add_line(struct text *text, struct xinetd_entry *entry)
{
	struct xinetd_line line = {.place = text->place, .text = text->line};
	struct xinetd_line *lines =
		reallocarray(entry->lines, entry->n_lines + 1, sizeof(*entry->lines));

	if (!lines) {
		text->conf->translation->is_out_of_memory = true;
		return;
	}
	entry->lines = lines;
	text->line = NULL;
	replace_tabs(line.text);
	if (!read_line(text, &line)) {
		entry->is_bad = true;
		free_line(&line);
	} else if (line.key == XINETD_N_KEYS) {
		free_line(&line);
	} else {
		entry->lines[entry->n_lines++] = line;
	}
}

/* From behind '{' to '}'. */
static void read_lines(struct text *text, struct xinetd_entry *entry)
{
	for (;;) {
		const char *line = next_line(text);

		if (!line) {
			warn(text, "the last section has no '}', expected one; it is left out");
			entry->is_bad = true;
			return;
		}
		if (is_only(line, '}'))
			return;
		add_line(text, entry);
	}
}

/* A section; `name` NULL: defaults. The line was read that names it. */
static void read_entry(struct text *text, const char *name)
{
	struct xinetd_conf *conf = text->conf;
	struct xinetd_entry *entry = add_entry(text, name);
	const char *line = next_line(text);

	if (!entry)
		return;
	if (!line || !is_only(line, '{')) {
		warn(text, "there is no '{' on a line of its own; the section is left out");
		entry->is_bad = true;
		skip_entry(text);
		return;
	}
	read_lines(text, entry);
	if (!name && conf->defaults)
		translation_warn(conf->translation, entry->place,
			"defaults is given a second time, the first is at %s:%d: put both into one; it is left out",
			conf->defaults->place.file, conf->defaults->place.line);
	else if (!name)
		conf->defaults = entry;
	entry->comment = translation_move_comment(conf->translation);
}

static void read_text(struct xinetd_conf *conf, const char *file, const char *content);

static void include_file(struct text *text, const char *file)
{
	struct xinetd_conf *conf = text->conf;
	char why[256] = "", *content;

	if (conf->depth >= MAX_DEPTH || conf->n_files >= MAX_FILES) {
		translation_warn(conf->translation, text->place,
			"'%s' is left out, because too many files include each other", file);
		return;
	}
	content = conf->facts->read_file(file, why, sizeof(why));
	if (!content) {
		translation_warn(
			conf->translation, text->place, "'%s' is left out: it %s", file, why);
		return;
	}
	conf->depth++;
	conf->n_files++;
	read_text(conf, file, content);
	conf->depth--;
	free(content);
}

/* The files of editors and packages have other names. */
static bool is_included(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && !strchr(name, '.') && name[length - 1] != '~';
}

static int include_folder(struct text *text, const char *folder)
{
	char **names = NULL;
	size_t n = 0;
	int r = text->conf->facts->list_folder(folder, &names, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		char *file;

		if (!is_included(names[i]))
			continue;
		if (asprintf(&file, "%s/%s", folder, names[i]) < 0) {
			text->conf->translation->is_out_of_memory = true;
			continue;
		}
		include_file(text, file);
		free(file);
	}
	for (size_t i = 0; r == 0 && i < n; i++)
		free(names[i]);
	free(names);
	return r;
}

static void read_folder(struct text *text, const char *folder)
{
	int r = include_folder(text, folder);

	if (r < 0)
		translation_warn(text->conf->translation, text->place,
			"the folder '%s' cannot be read: %s", folder, strerror(-r));
}

/* Outside of all sections: what begins with this line? */
static void read_directive(struct text *text)
{
	char *at = text->line, *word, *argument;

	replace_tabs(at);
	if (!translation_is_text(at)) {
		warn(text, "the line has a control character or is not UTF-8, expected a text");
		skip_entry(text);
		return;
	}
	word = next_word(&at);
	argument = next_word(&at);
	argument = argument ? strdup(argument) : NULL; /* the line will be another */
	if (strcmp(word, "defaults") == 0) {
		read_entry(text, NULL);
	} else if (argument && strcmp(word, "service") == 0) {
		read_entry(text, argument);
	} else if (argument && strcmp(word, "include") == 0) {
		include_file(text, argument);
	} else if (argument && strcmp(word, "includedir") == 0) {
		read_folder(text, argument);
	} else {
		translation_warn(text->conf->translation, text->place,
			"'%s' is unclear, expected service NAME, defaults, include FILE or "
			"includedir FOLDER; all up to the next '}' is left out",
			word);
		skip_entry(text);
	}
	free(argument);
}

static void read_text(struct xinetd_conf *conf, const char *file, const char *content)
{
	struct text text = {.conf = conf,
		.at = content,
		.place = {translation_add_file(conf->translation, file), 0}};

	while (next_line(&text))
		read_directive(&text);
	free(text.line);
}

static void free_entry(struct xinetd_entry *entry)
{
	for (size_t i = 0; i < entry->n_lines; i++)
		free_line(&entry->lines[i]);
	free(entry->lines);
	free(entry->comment);
	free(entry->name);
	free(entry);
}

static void finish(struct xinetd_conf *conf)
{
	xinetd_service_translate_all(conf);
	for (size_t i = 0; i < conf->n_entries; i++)
		free_entry(conf->entries[i]);
	free(conf->entries);
}

void xinetd_conf_translate(struct translation *translation, const char *file, const char *text,
	const struct translation_facts *facts)
{
	struct xinetd_conf conf = {.translation = translation, .facts = facts};

	read_text(&conf, file, text);
	finish(&conf);
}

int xinetd_conf_translate_folder(
	struct translation *translation, const char *folder, const struct translation_facts *facts)
{
	struct xinetd_conf conf = {.translation = translation, .facts = facts};
	struct text text = {.conf = &conf, .at = ""};
	int r;

	text.place.file = translation_add_file(translation, folder);
	r = include_folder(&text, folder);
	finish(&conf);
	return r;
}
