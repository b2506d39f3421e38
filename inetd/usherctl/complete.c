/* SPDX-License-Identifier: MIT */
/* What the last word may become: see complete.h. */
#include "complete.h"

#include "client.h"
#include "table.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_SECONDS 1 /* somebody has pressed a key, and waits */
#define TEXT_SIZE	256

#define ASK_FOR_FILES	":files"
#define ASK_FOR_FOLDERS ":folders"

/* Values of options. */
static const struct {
	const char *option, *value;
} values[] = {
	{"run-dir", ASK_FOR_FOLDERS},
	{"type", "inetd"},
	{"type", "xinetd"},
};

/* What the words before the last one have said. */
struct line {
	const struct option *pending; /* whose value the last word is; NULL: it is none */
	const struct command *command;
	bool has_command; /* be it one that does not exist */
	bool has_no_more_options;
	size_t n_arguments;
	const char *run_dir;
	const char *last;
};

/* `description` may be NULL. */
static void offer(const struct line *line, const char *word, const char *description)
{
	char word_text[TEXT_SIZE], description_text[TEXT_SIZE];

	if (strncmp(word, line->last, strlen(line->last)) != 0 && *word != ':')
		return;
	text_copy(word_text, sizeof(word_text), word);
	text_copy(description_text, sizeof(description_text), description ? description : "");
	printf("%s%s%s\n", word_text, *description_text ? "\t" : "", description_text);
}

/* The option of this word, or NULL. Short ones are not written together when they have a value. */
static const struct option *find_option(const struct option *options, const char *word)
{
	size_t length = strcspn(word, "=");

	for (; options->name; options++) {
		if (strncmp(word, "--", 2) == 0 && length == strlen(options->name) + 2 &&
			strncmp(word + 2, options->name, length - 2) == 0)
			return options;
		if (word[1] == options->val && word[2] == '\0')
			return options;
	}
	return NULL;
}

static bool is_option(const struct line *line, const char *word)
{
	return word[0] == '-' && !line->has_no_more_options;
}

static void read_value(struct line *line, const char *word)
{
	if (strcmp(word, "=") == 0)
		return; /* bash makes three words of "--run-dir=/run" */
	if (strcmp(line->pending->name, "run-dir") == 0)
		line->run_dir = word;
	line->pending = NULL;
}

static void read_option(struct line *line, const struct option *options, const char *word)
{
	const struct option *option = find_option(options, word);
	const char *value = strchr(word, '=');

	if (strcmp(word, "--") == 0)
		line->has_no_more_options = true;
	else if (option && option->has_arg == required_argument)
		line->pending = option;
	if (line->pending && value)
		read_value(line, value + 1);
}

static void read_command(
	struct line *line, const struct command *commands, size_t n_commands, const char *word)
{
	line->has_command = true;
	for (size_t i = 0; i < n_commands; i++)
		if (strcmp(commands[i].name, word) == 0)
			line->command = &commands[i];
}

static void offer_values(const struct line *line)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (strcmp(values[i].option, line->pending->name) == 0)
			offer(line, values[i].value, NULL);
}

static void offer_options(const struct line *line, const struct option *options)
{
	for (; options->name; options++) {
		char word[TEXT_SIZE];

		(void)snprintf(word, sizeof(word), "--%s", options->name);
		offer(line, word, NULL);
	}
}

/* "web/3" and whatever the provider calls itself. */
static void offer_providers(const struct line *line, const json_t *service)
{
	const char *name = json_string_value(json_object_get(service, "name"));
	const json_t *provider;
	size_t i;

	json_array_foreach(json_object_get(service, "providers"), i, provider)
	{
		char word[TEXT_SIZE];

		(void)snprintf(word, sizeof(word), "%s/%" JSON_INTEGER_FORMAT, name ? name : "",
			json_integer_value(json_object_get(provider, "number")));
		offer(line, word, json_string_value(json_object_get(provider, "name")));
	}
}

/* Of the running usherd. Providers are offered for a word that has got so far. */
static void offer_services(const struct line *line, bool has_providers)
{
	bool is_provider = has_providers && strchr(line->last, '/');
	json_t *status = NULL;
	const json_t *service;
	size_t i;

	if (client_ask(line->run_dir, "status", TIMEOUT_SECONDS, &status, NULL) < 0)
		return;
	json_array_foreach(json_object_get(status, "services"), i, service)
	{
		const char *name = json_string_value(json_object_get(service, "name"));

		if (is_provider)
			offer_providers(line, service);
		else if (name)
			offer(line, name, json_string_value(json_object_get(service, "state")));
	}
	json_decref(status);
}

/* The n-th word of "[FILE]" or "ADDRESS SERVICE", or NULL; what ends with "..." goes on for ever.
 */
static const char *find_argument(const char *arguments, size_t n, size_t *ret_length)
{
	const char *end = arguments;

	for (const char *word = arguments; *word; word = end + strspn(end, " ")) {
		end = word + strcspn(word, " ");
		*ret_length = (size_t)(end - word);
		if (n-- == 0 || (!*end && strstr(word, "...")))
			return word;
	}
	return NULL;
}

static void offer_arguments(const struct line *line)
{
	size_t length;
	const char *argument = find_argument(line->command->arguments, line->n_arguments, &length);

	if (!argument)
		return;
	if (memmem(argument, length, "FILE", 4))
		offer(line, ASK_FOR_FILES, NULL);
	if (memmem(argument, length, "SERVICE", 7))
		offer_services(line, memmem(argument, length, "PROVIDER", 8));
}

int complete(const struct command *commands, size_t n_commands, const struct option *options,
	const char *run_dir, char **words)
{
	struct line line = {.run_dir = run_dir, .last = ""};

	for (; words[0] && words[1]; words++) {
		if (line.pending)
			read_value(&line, *words);
		else if (is_option(&line, *words))
			read_option(&line, options, *words);
		else if (!line.has_command)
			read_command(&line, commands, n_commands, *words);
		else
			line.n_arguments++;
	}
	line.last = *words ? *words : "";
	if (line.pending)
		offer_values(&line);
	else if (is_option(&line, line.last))
		offer_options(&line, options);
	else if (line.command)
		offer_arguments(&line);
	for (size_t i = 0; !line.pending && !line.has_command && i < n_commands; i++)
		offer(&line, commands[i].name, commands[i].help);
	return 0;
}
