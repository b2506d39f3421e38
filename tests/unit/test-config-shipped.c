/* SPDX-License-Identifier: MIT */
/*
 * The configuration that is installed, and the manual: they agree with what is loaded.
 *
 * SOURCE_DIR in the environment is the root of the source tree.
 */
#include "config-files.h"
#include "config-private.h"
#include "test.h"

#include <glob.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static char *source_path(const char *file)
{
	const char *source_dir = getenv("SOURCE_DIR");
	char *path;

	if (!source_dir)
		fail_msg("SOURCE_DIR is not set: run this by meson test");
	assert_true(asprintf(&path, "%s/%s", source_dir, file) > 0);
	return path;
}

static char *read_source(const char *file)
{
	char *path = source_path(file), *text = read_text(path);

	free(path);
	return text;
}

/* Users of the installation, who need not be on the machine that tests: root is. */
static void replace_users(char *text)
{
	for (char *user; (user = strstr(text, "{\"usher-"));) {
		char *end = strchr(user, '}');

		assert_non_null(end);
		memset(user, ' ', (size_t)(end - user));
		memcpy(user, "{\"root\"", strlen("{\"root\""));
	}
}

/* Copy etc/ here as the installation does: root's or our own, mode 0644. */
static void install_shipped_files(bool is_enabled)
{
	char *pattern = source_path("etc/services.d/*.conf"), *text = read_source("etc/usher.conf");
	glob_t found;

	write_config("etc/usher.conf", text);
	free(text);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *path = strstr(found.gl_pathv[i], "etc/services.d/"), *disable;

		text = read_text(found.gl_pathv[i]);
		disable = strstr(text, "disable = true ");
		assert_non_null(disable);
		if (is_enabled) {
			memcpy(disable, "disable = false", strlen("disable = false"));
			replace_users(text);
		}
		write_config(path, text);
		free(text);
	}
	globfree(&found);
	free(pattern);
}

static void check_shipped_files(bool is_enabled)
{
	static const char *const names[] = {
		"chargen", "daytime", "discard", "echo", "metrics", "tcpmux", "time"};
	struct config *config;

	install_shipped_files(is_enabled);
	config = load_file("etc/usher.conf");
	assert_int_equal(config->n_services, N_ELEMENTS(names));
	for (size_t i = 0; i < N_ELEMENTS(names); i++) {
		const struct config_service *service = config->services[i];
		const struct sockaddr_in *in;

		assert_string_equal(service->name, names[i]);
		assert_int_equal(service->is_disabled, !is_enabled);
		assert_int_equal(service->n_listen, 1);
		in = (const struct sockaddr_in *)&service->listen[0].address.storage;
		assert_int_equal(in->sin_family, AF_INET);
		assert_int_equal(in->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	}
	config_free(config);
}

static void test_shipped_files_as_installed_listen_nowhere(void **state)
{
	(void)state;
	check_shipped_files(false);
}

static void test_shipped_files_enabled_listen_on_loopback(void **state)
{
	(void)state;
	check_shipped_files(true);
}

/* The examples of the manual, from .Bd to .Ed below EXAMPLES; each is a configuration. */
static void test_examples_of_the_manual(void **state)
{
	static const char begin[] = ".Bd -literal -offset indent\n", end[] = ".Ed\n";
	char *page = read_source("man/usher.conf.5"), *at = strstr(page, ".Sh EXAMPLES\n");
	char *last = at ? strstr(at, ".Sh DIAGNOSTICS\n") : NULL;
	size_t n = 0;

	(void)state;
	if (last)
		*last = '\0';
	else
		fail_msg("the manual has no EXAMPLES and DIAGNOSTICS");
	while (at && (at = strstr(at, begin))) {
		char *example = at + strlen(begin);

		at = strstr(example, end);
		if (at)
			*at++ = '\0';
		config_free(load_text(example));
		n++;
	}
	assert_int_equal(n, 12);
	free(page);
}

/* Where the part of the page that `heading` begins has its end. */
static const char *end_of_part(const char *heading)
{
	const char *subsection = strstr(heading, "\n.Ss "), *section = strstr(heading, "\n.Sh ");

	return subsection && subsection < section ? subsection : section;
}

/* How many items of a part are the key: ".It Cm key No = ...". */
static int count_items(const char *page, const char *heading, const char *key)
{
	const char *at = strstr(page, heading), *end;
	char *item;
	int n = 0;

	if (!at)
		fail_msg("the manual has no %s", heading);
	end = end_of_part(at);
	assert_true(asprintf(&item, "\n.It Cm %s No ", key) > 0);
	while ((at = strstr(at, item)) && at < end) {
		n++;
		at++;
	}
	free(item);
	return n;
}

/* "rlimit" of "exec.rlimit". */
static const char *name_of(const char *section)
{
	const char *dot = strchr(section, '.');

	return dot ? dot + 1 : section;
}

/* What begins the part of the page that is about a section. Good until the next call. */
static const char *heading_of(const char *section)
{
	static char heading[96];

	snprintf(heading, sizeof(heading), ".Ss Options of %s\n",
		section ? name_of(section) : "a service");
	return heading;
}

/* The same for the part that the section itself is an item of. */
static const char *outer_heading_of(const char *section)
{
	char outer[64];
	const char *dot = strchr(section, '.');

	if (!dot)
		return heading_of(NULL);
	snprintf(outer, sizeof(outer), "%.*s", (int)(dot - section), section);
	return heading_of(outer);
}

static size_t count_all_items(const char *page)
{
	size_t n = 0;

	for (const char *at = strstr(page, ".Sh OPTIONS\n"); (at = strstr(at, "\n.It Cm ")); at++)
		n++;
	return n;
}

static void test_keys_are_those_of_the_manual(void **state)
{
	static const char *const sections_of_globals[] = {"defaults", "service", "monitors"};
	const char *globals = ".Ss Global options\n";
	char *page = read_source("man/usher.conf.5");

	(void)state;
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		assert_int_equal(
			count_items(page, heading_of(config_keys[i].section), config_keys[i].name),
			1);
	for (size_t i = 0; i < CONFIG_N_GLOBALS; i++)
		assert_int_equal(
			count_items(page,
				config_globals[i].section ? heading_of(config_globals[i].section)
							  : globals,
				config_globals[i].name),
			1);
	for (size_t i = 0; i < CONFIG_N_SECTIONS; i++)
		assert_int_equal(count_items(page, outer_heading_of(config_sections[i]),
					 name_of(config_sections[i])),
			1);
	assert_int_equal(count_items(page, globals, sections_of_globals[0]), 1);
	assert_int_equal(count_items(page, globals, sections_of_globals[2]), 1);
	assert_int_equal(count_all_items(page), CONFIG_N_KEYS + CONFIG_N_GLOBALS +
							N_ELEMENTS(sections_of_globals) +
							CONFIG_N_SECTIONS);
	free(page);
}

/* All attributes of xinetd.conf(5) of xinetd 2.3.15. */
static const char *const attributes_of_xinetd[] = {"id", "type", "flags", "disable", "socket_type",
	"protocol", "wait", "user", "group", "instances", "nice", "server", "server_args",
	"libwrap", "only_from", "no_access", "access_times", "log_type", "log_on_success",
	"log_on_failure", "rpc_version", "rpc_number", "env", "passenv", "port", "redirect", "bind",
	"mdns", "banner", "banner_success", "banner_fail", "per_source", "cps", "max_load",
	"groups", "umask", "enabled", "disabled", "include", "includedir", "rlimit_as",
	"rlimit_files", "rlimit_cpu", "rlimit_data", "rlimit_rss", "rlimit_stack", "deny_time",
	"v6only"};

static void test_table_has_every_attribute_of_xinetd(void **state)
{
	char *page = read_source("man/usher.conf.5");
	char *table = strstr(page, ".Sh XINETD AND SYSTEMD\n"), *row;

	(void)state;
	assert_non_null(table);
	for (size_t i = 0; i < N_ELEMENTS(attributes_of_xinetd); i++) {
		assert_true(asprintf(&row, "\n.It %s ", attributes_of_xinetd[i]) > 0);
		if (!strstr(table, row))
			fail_msg("the table has no %s", attributes_of_xinetd[i]);
		free(row);
	}
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_shipped_files_as_installed_listen_nowhere),
		check_test(test_shipped_files_enabled_listen_on_loopback),
		check_test(test_examples_of_the_manual),
		check_test(test_keys_are_those_of_the_manual),
		check_test(test_table_has_every_attribute_of_xinetd),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
