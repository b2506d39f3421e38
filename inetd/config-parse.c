/* SPDX-License-Identifier: MIT */
/*
 * From files to values, with libconfuse.
 *
 * libconfuse keeps no line numbers, so a value is taken when it is read, by a callback; what it
 * keeps itself is thrown away with its cfg_t. It has no room for a caller's pointer, and its
 * scanner is one for the whole process: hence the one static pointer here, and included files wait
 * in a list until the one before is done.
 *
 * A section's values are collected in a draft (config-draft.c) until its closing brace.
 */
#include "config-private.h"

#include <assert.h>
#include <confuse.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of config->files[i]. */
struct file {
	struct config_place included; /* by what; no file: the first one */
	dev_t device;
	ino_t inode;
};

struct parser {
	struct config *config;
	struct config_foreign *foreign;
	struct config_errors *errors;
	struct file *files;
	size_t n_files;
	const char *file;
	const struct config_source *source;
	size_t n_sections;	   /* closed in this file */
	struct config_draft draft; /* the section that is being read */
	struct config_draft defaults;
	struct config_place defaults_place; /* no file: not given yet */
	struct config_draft *drafts;
	size_t n_drafts;
	struct config_place globals[CONFIG_N_GLOBALS]; /* where each was given */
	struct config_place monitors_place;	       /* no file: not given yet */
};

/* The parser at work: libconfuse's callbacks have no other way to it. */
static struct parser *parsing;

static struct config_place place_of(const cfg_t *cfg)
{
	return (struct config_place){.file = parsing->file, .line = cfg->line};
}

/* libconfuse has read a value of a key: def.number is its place in config_keys. */
static int on_value(cfg_t *cfg, cfg_opt_t *option, const char *text, void *result)
{
	bool is_continued = option->nvalues > 1, is_empty = *text == CONFIG_EMPTY_LIST;

	config_draft_take(&parsing->draft, &config_keys[option->def.number], is_empty ? NULL : text,
		place_of(cfg), is_continued, parsing->errors);
	*(const char **)result = text;
	return 0;
}

/* What may be given once is given here. Returns whether it was before, which is an error. */
static bool is_second_time(struct config_place *first, struct config_place place, const char *name)
{
	if (!first->file) {
		*first = place;
		return false;
	}
	config_errors_add(
		parsing->errors, place, "%s" CONFIG_SECOND_TIME, name, first->file, first->line);
	return true;
}

/* The same for a value that is in no service: def.number is its place in config_globals. */
static int on_global(cfg_t *cfg, cfg_opt_t *option, const char *text, void *result)
{
	const struct config_global *global = &config_globals[option->def.number];
	struct config_place *first = &parsing->globals[option->def.number];
	bool is_continued = option->nvalues > 1, is_empty = *text == CONFIG_EMPTY_LIST;
	char why[CONFIG_WHY_SIZE];

	if (!is_continued)
		(void)is_second_time(first, place_of(cfg), global->name);
	if (!is_empty && !global->parse(parsing->config, text, why))
		config_errors_add(parsing->errors, place_of(cfg), "%s", why);
	*(const char **)result = text;
	return 0;
}

/* Where the section that libconfuse has just closed was opened: it has forgotten that itself. */
static struct config_place close_section(void)
{
	assert(parsing->n_sections < parsing->source->n_sections);
	return (struct config_place){.file = parsing->file,
		.line = parsing->source->section_lines[parsing->n_sections++]};
}

static int on_service_end(cfg_t *cfg, cfg_opt_t *option)
{
	struct config_draft *draft = config_array_add(
		&parsing->drafts, &parsing->n_drafts, sizeof(*draft), parsing->errors);

	(void)cfg;
	config_draft_close(&parsing->draft, cfg_title(cfg_opt_getnsec(option, 0)), close_section(),
		parsing->errors);
	if (draft) {
		*draft = parsing->draft;
		parsing->draft = (struct config_draft){0};
	}
	config_draft_clear(&parsing->draft);
	/* Or libconfuse compares each title with all before it, and forgets the first of two. */
	return cfg_opt_rmnsec(option, 0);
}

static int on_defaults_end(cfg_t *cfg, cfg_opt_t *option)
{
	(void)cfg;
	(void)option;
	if (is_second_time(&parsing->defaults_place, close_section(), "defaults")) {
		config_draft_clear(&parsing->draft);
		return 0;
	}
	config_draft_finish(&parsing->draft, parsing->errors);
	parsing->defaults = parsing->draft;
	parsing->draft = (struct config_draft){0};
	return 0;
}

static int on_monitors_end(cfg_t *cfg, cfg_opt_t *option)
{
	(void)cfg;
	(void)option;
	(void)is_second_time(&parsing->monitors_place, close_section(), "monitors");
	return 0;
}

/* Put `file` on the list of what is to be read. */
static void add_file(const char *file, struct config_place included)
{
	struct file *entry = config_array_add(
		&parsing->files, &parsing->n_files, sizeof(*entry), parsing->errors);
	char **name = config_array_add(
		&parsing->config->files, &parsing->config->n_files, sizeof(*name), parsing->errors);

	if (!entry || !name)
		return;
	entry->included = included;
	*name = strdup(file);
	if (!*name)
		parsing->errors->is_out_of_memory = true;
}

/*
 * `pattern` as seen from the folder of `file`, whose own name is no pattern. Allocated; NULL: no
 * memory.
 */
static char *resolve_pattern(const char *file, const char *pattern)
{
	const char *slash = strrchr(file, '/');
	size_t length = slash && *pattern != '/' ? (size_t)(slash - file) + 1 : 0;
	char *resolved = malloc(2 * length + strlen(pattern) + 1), *at = resolved;

	if (!resolved)
		return NULL;
	for (size_t i = 0; i < length; i++) {
		if (strchr("*?[\\", file[i]))
			*at++ = '\\';
		*at++ = file[i];
	}
	strcpy(at, pattern);
	return resolved;
}

/* A folder that is not there holds no files; another trouble is one. */
static int on_glob_error(const char *folder, int error)
{
	(void)folder;
	return error != ENOENT && error != ENOTDIR;
}

static void include_pattern(const char *pattern, const char *resolved, struct config_place place)
{
	glob_t found = {0};
	int r = glob(resolved, 0, on_glob_error, &found);

	if (r == GLOB_NOSPACE)
		parsing->errors->is_out_of_memory = true;
	else if (r == GLOB_ABORTED)
		config_errors_add(parsing->errors, place,
			"include(\"%s\"): a folder cannot be read, expected one that can", pattern);
	else if (r == GLOB_NOMATCH && !strpbrk(pattern, "*?["))
		config_errors_add(parsing->errors, place,
			"include(\"%s\"): there is no such file, expected one or a pattern",
			pattern);
	for (size_t i = 0; i < found.gl_pathc; i++)
		add_file(found.gl_pathv[i], place);
	globfree(&found);
}

static int on_include(cfg_t *cfg, cfg_opt_t *option, int argc, const char **argv)
{
	char *resolved;

	(void)option;
	assert(argc == 1); /* or config-source.c has refused it */
	resolved = resolve_pattern(parsing->file, argv[0]);
	if (resolved)
		include_pattern(argv[0], resolved, place_of(cfg));
	else
		parsing->errors->is_out_of_memory = true;
	free(resolved);
	return 0;
}

/* inetd_conf() and its like: their files are read when all others are. */
static int on_foreign(cfg_t *cfg, cfg_opt_t *option, int argc, const char **argv)
{
	static const char *const names[] = {
		[CONFIG_FOREIGN_INETD_CONF] = "inetd_conf",
		[CONFIG_FOREIGN_XINETD_CONF] = "xinetd_conf",
		[CONFIG_FOREIGN_XINETD_D] = "xinetd_d",
	};

	assert(argc == 1); /* or config-source.c has refused it */
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(cfg_opt_name(option), names[i]) == 0)
			config_foreign_add_file(parsing->foreign, (enum config_foreign_type)i,
				argv[0], place_of(cfg), parsing->errors);
	return 0;
}

/* Unknown options are the common mistake: say what there is. */
static void report_unknown(cfg_t *cfg, const char *name)
{
	char expected[1024] = "", where[128] = "";
	size_t length = 0;

	for (unsigned int i = 0; i < cfg_num(cfg); i++)
		length += (size_t)snprintf(expected + length, sizeof(expected) - length, "%s%s",
			i == 0		       ? ""
			: i + 1 < cfg_num(cfg) ? ", "
					       : " or ",
			cfg_opt_name(cfg_getnopt(cfg, i)));
	assert(length < sizeof(expected));
	if (cfg_title(cfg))
		(void)snprintf(where, sizeof(where), " in service '%.64s'", cfg_title(cfg));
	else if (strcmp(cfg_name(cfg), "root") != 0)
		(void)snprintf(where, sizeof(where), " in %s", cfg_name(cfg));
	config_errors_add(parsing->errors, place_of(cfg), "unknown option '%s'%s, expected %s",
		name, where, expected);
}

/* libconfuse's messages, which are programs' words, in ours: with what was expected. */
static const struct {
	const char *format, *before, *after;
} syntax_errors[] = {
	{"premature end of file", "the file ends too early, expected a value", NULL},
	{"unexpected closing brace", "unexpected '}', expected an option", NULL},
	{"unexpected token '%s'", "unexpected '", "', see usher.conf(5), SYNTAX"},
	{"missing equal sign after option '%s'", "no '=' after '", "', expected one"},
	{"attempt to append to non-list option '%s'", "'", "' is no list, expected '=' for '+='"},
	{"missing title for section '%s'", "no name after '", "', expected one and '{'"},
	{"missing opening brace for section '%s'", "no '{' for '", "', expected one"},
	{"missing parenthesis for function '%s'", "no '(' after '",
		"', expected include(\"FILE\")"},
	{"syntax error in call of function '%s'", "no ')' for '", "', expected include(\"FILE\")"},
};

static void on_syntax_error(cfg_t *cfg, const char *format, va_list args)
{
	const char *about = strstr(format, "'%s'") ? va_arg(args, const char *) : "";

	if (strcmp(format, "no such option '%s'") == 0) {
		report_unknown(cfg, about);
		return;
	}
	for (size_t i = 0; i < sizeof(syntax_errors) / sizeof(syntax_errors[0]); i++) {
		if (strcmp(format, syntax_errors[i].format) != 0)
			continue;
		config_errors_add(parsing->errors, place_of(cfg), "%s%s%s", syntax_errors[i].before,
			syntax_errors[i].after ? about : "",
			syntax_errors[i].after ? syntax_errors[i].after : "");
		return;
	}
	config_errors_add(parsing->errors, place_of(cfg), "syntax error near '%s'", about);
}

static cfg_opt_t value_option(const char *name, bool is_list, cfg_callback_t on_text, size_t number)
{
	cfg_opt_t one = CFG_STR_CB(name, NULL, CFGF_NODEFAULT, on_text);
	cfg_opt_t list = CFG_STR_LIST_CB(name, NULL, CFGF_NODEFAULT, on_text);
	cfg_opt_t option = is_list ? list : one;

	option.def.number = (long)number;
	return option;
}

/* A service, the defaults, or a section in one of them: its keys, its sections, and the end. */
#define MAX_OPTIONS (CONFIG_N_KEYS + CONFIG_N_SECTIONS + 1)
struct options {
	cfg_opt_t of[MAX_OPTIONS];
};

/* "rlimit" if `section` is one in `outer` ("exec.rlimit" in "exec"), else NULL. */
static const char *name_in(const char *section, const char *outer)
{
	size_t length = strlen(outer);

	if (length > 0 && (strncmp(section, outer, length) != 0 || section[length++] != '.'))
		return NULL;
	return strchr(section + length, '.') ? NULL : section + length;
}

/* The options of one section, from the schema. `inner` has those of all sections in it. */
static void section_options(
	const char *section, bool is_defaults, struct options *inner, struct options *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
		const struct config_key *key = &config_keys[i];

		if (strcmp(key->section ? key->section : "", section) != 0 ||
			(is_defaults && key->is_required))
			continue;
		ret->of[n++] = value_option(key->name, key->type->is_list, on_value, i);
	}
	for (size_t i = 0; i < CONFIG_N_SECTIONS; i++) {
		const char *name = name_in(config_sections[i], section);

		if (name)
			ret->of[n++] = (cfg_opt_t)CFG_SEC(name, inner[i].of, CFGF_NONE);
	}
	ret->of[n] = (cfg_opt_t)CFG_END();
}

/* Those of the whole configuration that stand in `section`. Returns how many. */
static size_t global_options(const char *section, cfg_opt_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < CONFIG_N_GLOBALS; i++) {
		const struct config_global *global = &config_globals[i];

		if (strcmp(global->section ? global->section : "", section) == 0)
			ret[n++] = value_option(global->name, global->is_list, on_global, i);
	}
	ret[n] = (cfg_opt_t)CFG_END();
	return n;
}

/* libconfuse copies the tables. NULL: out of memory. */
static cfg_t *new_cfg(const char *file)
{
	struct options inner[CONFIG_N_SECTIONS], service, defaults;
	cfg_opt_t monitors[CONFIG_N_GLOBALS + 1], top[CONFIG_N_GLOBALS + 8],
		sections[] = {CFG_FUNC("include", on_include), CFG_FUNC("inetd_conf", on_foreign),
			CFG_FUNC("xinetd_conf", on_foreign), CFG_FUNC("xinetd_d", on_foreign),
			CFG_SEC("monitors", monitors, CFGF_NONE),
			CFG_SEC("defaults", defaults.of, CFGF_NONE),
			CFG_SEC("service", service.of, CFGF_MULTI | CFGF_TITLE), CFG_END()};
	cfg_t *cfg;

	for (size_t i = CONFIG_N_SECTIONS; i-- > 0;) /* the inner ones first */
		section_options(config_sections[i], false, inner, &inner[i]);
	section_options("", false, inner, &service);
	section_options("", true, inner, &defaults);
	(void)global_options("monitors", monitors);
	memcpy(top + global_options("", top), sections, sizeof(sections));
	cfg = cfg_init(top, CFGF_NONE);
	if (!cfg)
		return NULL;
	cfg->filename = strdup(file);
	cfg_set_error_function(cfg, on_syntax_error);
	cfg_set_validate_func(cfg, "service", on_service_end);
	cfg_set_validate_func(cfg, "defaults", on_defaults_end);
	cfg_set_validate_func(cfg, "monitors", on_monitors_end);
	return cfg;
}

static void parse_source(void)
{
	const struct config_source *source = parsing->source;
	FILE *stream = fmemopen(source->text, source->size, "r");
	cfg_t *cfg = stream ? new_cfg(parsing->file) : NULL;

	if (cfg)
		(void)cfg_parse_fp(cfg, stream); /* what is wrong was said by the callbacks */
	else
		parsing->errors->is_out_of_memory = true;
	parsing->n_sections = 0;
	config_draft_clear(&parsing->draft);
	if (cfg)
		(void)cfg_free(cfg);
	if (stream)
		(void)fclose(stream);
}

/* Is this file, which was included by files[index], one of those before it? */
static bool is_read_already(size_t index)
{
	struct config_place included = parsing->files[index].included;
	const char *file = parsing->config->files[index];

	for (size_t i = 0; i < index; i++) {
		const struct file *earlier = &parsing->files[i];

		if (earlier->device != parsing->files[index].device ||
			earlier->inode != parsing->files[index].inode)
			continue;
		if (earlier->included.file)
			config_errors_add(parsing->errors, included,
				"'%s' is included a second time, the first is at %s:%d", file,
				earlier->included.file, earlier->included.line);
		else
			config_errors_add(parsing->errors, included,
				"'%s' is included, but the configuration begins with it", file);
		return true;
	}
	return false;
}

static void parse_file(size_t index)
{
	struct config_source source;

	parsing->file = parsing->config->files[index];
	if (!config_source_read(parsing->file, &source, parsing->errors))
		return;
	parsing->files[index].device = source.device;
	parsing->files[index].inode = source.inode;
	parsing->source = &source;
	if (!is_read_already(index))
		parse_source();
	config_source_done(&source);
}

/* All files are read: a draft becomes a service. */
static void add_service(struct config_draft *draft)
{
	struct config_service **slot = config_array_add(&parsing->config->services,
		&parsing->config->n_services, sizeof(*slot), parsing->errors);

	config_draft_complete(draft, &parsing->defaults, parsing->errors);
	if (!slot)
		return;
	*slot = malloc(sizeof(**slot));
	if (!*slot) {
		parsing->config->n_services--;
		parsing->errors->is_out_of_memory = true;
		return;
	}
	**slot = draft->service;
	*draft = (struct config_draft){0};
}

void config_parse(const char *path, struct config *config, struct config_foreign *foreign,
	struct config_errors *errors)
{
	struct parser parser = {.config = config, .foreign = foreign, .errors = errors};

	assert(!parsing);
	parsing = &parser;
	add_file(path, (struct config_place){0});
	for (size_t i = 0; i < config->n_files && !errors->is_out_of_memory; i++)
		parse_file(i);
	for (size_t i = 0; i < parser.n_drafts; i++) {
		if (!errors->is_out_of_memory)
			add_service(&parser.drafts[i]);
		config_draft_clear(&parser.drafts[i]);
	}
	if (!errors->is_out_of_memory && errors->n_lines == 0)
		config_foreign_read(foreign, config, &parser.defaults, errors);
	config_draft_clear(&parser.defaults);
	free(parser.drafts);
	free(parser.files);
	parsing = NULL;
}
