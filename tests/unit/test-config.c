/* SPDX-License-Identifier: MIT */
/*
 * What a configuration means: values, defaults, includes, the shipped files and the manual. Wrong
 * ones are in test-config-errors.c.
 *
 * SOURCE_DIR in the environment is the root of the source tree.
 */
#include "config-files.h"
#include "config-private.h"
#include "test.h"

#include "build-config.h"
#include <glob.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define N_MANY		  10000

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

static void test_empty_file_is_all_defaults(void **state)
{
	struct config *config = load_text("");
	const struct passwd *usher = getpwnam("usher");

	(void)state;
	assert_string_equal(config->run_dir, USHER_RUN_DIR);
	assert_string_equal(config->user, "usher");
	assert_int_equal(config->is_user_known, usher != NULL);
	assert_int_equal(config->uid, usher ? usher->pw_uid : (uid_t)-1);
	assert_int_equal(config->log, CONFIG_LOG_JOURNAL);
	assert_null(config->log_file);
	assert_int_equal(config->n_services, 0);
	assert_int_equal(config->n_files, 1);
	assert_string_equal(config->files[0], "c.conf");
	assert_null(config_find_service(config, "a"));
	assert_int_equal(config_n_fds(config), 256);
	config_free(config);
}

static void test_global_options(void **state)
{
	struct config *config = load_text("run_dir = '/x'\nuser = daemon\nlog = \"/var/log/u\"\n");
	const struct passwd *daemon_user = getpwnam("daemon");

	(void)state;
	assert_string_equal(config->run_dir, "/x");
	assert_string_equal(config->user, "daemon");
	assert_true(config->is_user_known);
	assert_int_equal(config->uid, daemon_user->pw_uid);
	assert_int_equal(config->gid, daemon_user->pw_gid);
	assert_int_equal(config->log, CONFIG_LOG_FILE);
	assert_string_equal(config->log_file, "/var/log/u");
	config_free(config);
}

static void test_user_by_number_has_its_name(void **state)
{
	struct config *config = load_text("user = 0");

	(void)state;
	assert_string_equal(config->user, "root");
	assert_int_equal(config->uid, 0);
	config_free(config);
}

static void test_log_targets(void **state)
{
	static const struct {
		const char *text;
		enum config_log log;
	} cases[] = {
		{"log = journal", CONFIG_LOG_JOURNAL},
		{"log = syslog", CONFIG_LOG_SYSLOG},
		{"log = stderr", CONFIG_LOG_STDERR},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct config *config = load_text(cases[i].text);

		assert_int_equal(config->log, cases[i].log);
		config_free(config);
	}
}

static void test_service_without_options_has_the_initial_values(void **state)
{
	struct config *config = load_text("\n\nservice a { listen = \"tcp:80\" }");
	const struct config_service *a = config_find_service(config, "a");

	(void)state;
	assert_string_equal(a->name, "a");
	assert_string_equal(a->file, "c.conf");
	assert_int_equal(a->line, 3);
	assert_false(a->is_disabled);
	assert_int_equal(a->n_listen, 1);
	assert_int_equal(a->instances, 1024);
	assert_int_equal(a->unavailable, CONFIG_UNAVAILABLE_WAIT);
	assert_int_equal(a->claim_timeout_usec, 10000000);
	assert_int_equal(a->providers.n_users, 0);
	assert_int_equal(a->providers.n_groups, 0);
	assert_int_equal(a->providers.max, 16);
	assert_int_equal(a->providers.balance, CONFIG_BALANCE_LEAST);
	assert_int_equal(a->socket.backlog, 4096);
	assert_false(a->socket.nodelay);
	assert_false(a->socket.keepalive);
	assert_false(a->socket.v6only);
	assert_false(a->socket.freebind);
	config_free(config);
}

static void test_every_option_of_a_service(void **state)
{
	struct config *config =
		load_text("service a {\n"
			  "disable = yes instances = 7 unavailable = reset\n"
			  "claim_timeout = 2min\n"
			  "listen = {\"tcp:80\",\n\"unix:/run/a\"}\n"
			  "providers { users = {root, 4711} groups = daemon max = 3\n"
			  "balance = round_robin }\n"
			  "socket { backlog = 5 nodelay = true keepalive = on\n"
			  "v6only = true freebind = yes } }\n");
	const struct config_service *a = config_find_service(config, "a");

	(void)state;
	assert_true(a->is_disabled);
	assert_int_equal(a->instances, 7);
	assert_int_equal(a->unavailable, CONFIG_UNAVAILABLE_RESET);
	assert_int_equal(a->claim_timeout_usec, 120000000);
	assert_int_equal(a->n_listen, 2);
	assert_int_equal(a->listen[0].line, 4);
	assert_int_equal(a->listen[1].line, 5);
	assert_int_equal(a->listen[1].address.sockaddr.sa_family, AF_UNIX);
	assert_int_equal(a->providers.n_users, 2);
	assert_int_equal(a->providers.users[0], 0);
	assert_int_equal(a->providers.users[1], 4711);
	assert_int_equal(a->providers.n_groups, 1);
	assert_int_equal(a->providers.groups[0], 1);
	assert_int_equal(a->providers.max, 3);
	assert_int_equal(a->providers.balance, CONFIG_BALANCE_ROUND_ROBIN);
	assert_int_equal(a->socket.backlog, 5);
	assert_true(a->socket.nodelay);
	assert_true(a->socket.keepalive);
	assert_true(a->socket.v6only);
	assert_true(a->socket.freebind);
	config_free(config);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t usec;
	} cases[] = {
		{"100ms", 100000},
		{"5s", 5000000},
		{"60min", UINT64_C(3600000000)},
		{"1h", UINT64_C(3600000000)},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char text[128];
		struct config *config;

		(void)snprintf(text, sizeof(text),
			"service a { listen = \"tcp:80\" claim_timeout = %s }", cases[i].text);
		config = load_text(text);
		assert_int_equal(config->services[0]->claim_timeout_usec, cases[i].usec);
		config_free(config);
	}
}

static void test_range_is_a_listener_for_each_port(void **state)
{
	struct config *config = load_text("service a { listen = {\"tcp:80\"}\n"
					  "listen += \"tcp:8000-8010\" }");

	(void)state;
	assert_int_equal(config->services[0]->n_listen, 12);
	assert_int_equal(address_port(&config->services[0]->listen[11].address), 8010);
	assert_int_equal(config->services[0]->listen[11].line, 2);
	assert_int_equal(config_n_fds(config), 256 + 12 + 1 + 2 * 16);
	config_free(config);
}

/* Every way to write a comment, and quotes around what looks like one. */
static void test_comments_leave_the_lines_as_they_are(void **state)
{
	struct config *config = load_text("# one\n// two\n/* three\n * four\n */ log = '/x#y'\n"
					  "run_dir = /a//b # seven\n"
					  "service a { listen = \"tcp:80\" /* eight */ }\r\n"
					  "service b /* nine\n */ { listen = \"unix:/*x*/y\" }\n");

	(void)state;
	assert_string_equal(config->log_file, "/x#y");
	assert_string_equal(config->run_dir, "/a//b");
	assert_int_equal(config_find_service(config, "a")->line, 7);
	assert_int_equal(config_find_service(config, "b")->line, 9);
	config_free(config);
}

static void test_services_are_sorted_and_found(void **state)
{
	struct config *config = load_text("service c { listen = \"tcp:3\" }\n"
					  "service a { listen = \"tcp:1\" }\n"
					  "service b { listen = \"tcp:2\" }\n");

	(void)state;
	assert_int_equal(config->n_services, 3);
	for (size_t i = 0; i < 3; i++) {
		const char name[2] = {(char)('a' + i), '\0'};

		assert_string_equal(config->services[i]->name, name);
		assert_ptr_equal(config_find_service(config, name), config->services[i]);
	}
	assert_null(config_find_service(config, "d"));
	config_free(config);
}

#define DEFAULTS                                                                                   \
	"defaults { instances = 5 unavailable = refuse\n"                                          \
	"providers { users = {1, 2} max = 7 } socket { nodelay = true backlog = 9 } }\n"
#define SERVICES                                                                                   \
	"service own { listen = \"tcp:80\" instances = 6 unavailable = wait\n"                     \
	"providers { users = 3 } socket { nodelay = false } }\n"                                   \
	"service none { listen = \"tcp:81\" }\n"

static void check_merged(const char *text)
{
	struct config *config = load_text(text);
	const struct config_service *own = config_find_service(config, "own");
	const struct config_service *none = config_find_service(config, "none");

	assert_int_equal(own->instances, 6);
	assert_int_equal(own->unavailable, CONFIG_UNAVAILABLE_WAIT);
	assert_int_equal(own->providers.n_users, 1);
	assert_int_equal(own->providers.users[0], 3);
	assert_int_equal(own->providers.max, 7);
	assert_false(own->socket.nodelay);
	assert_int_equal(own->socket.backlog, 9);
	assert_int_equal(own->claim_timeout_usec, 10000000);
	assert_int_equal(none->instances, 5);
	assert_int_equal(none->unavailable, CONFIG_UNAVAILABLE_REFUSE);
	assert_int_equal(none->providers.n_users, 2);
	assert_int_equal(none->providers.users[1], 2);
	assert_true(none->socket.nodelay);
	config_free(config);
}

static void test_defaults_before_and_after_the_services(void **state)
{
	(void)state;
	check_merged(DEFAULTS SERVICES);
	check_merged(SERVICES DEFAULTS);
}

static void test_empty_list_of_a_service_overrides_the_defaults(void **state)
{
	static const char *const empty[] = {"users = {}", "users={\n/* nobody */ # else\n}max=3",
		"users += { }", "users = {} users += {}"};

	(void)state;
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		struct config *config;
		char *text;

		assert_true(asprintf(&text,
				    "defaults { providers { users = {1} groups = {2} } }\n"
				    "service a { listen = {\"tcp:80\"} providers { %s } }\n"
				    "service b { listen = {\"tcp:81\"} }\n",
				    empty[i]) > 0);
		config = load_text(text);
		assert_int_equal(config->services[0]->providers.n_users, 0);
		assert_int_equal(config->services[0]->providers.n_groups, 1);
		assert_int_equal(config->services[1]->providers.n_users, 1);
		assert_int_equal(config->services[1]->line, i == 1 ? 5 : 3);
		config_free(config);
		free(text);
	}
}

static void test_empty_list_can_be_added_to(void **state)
{
	struct config *config = load_text("service a { listen = {\"tcp:80\"}\n"
					  "providers { users = {} users += {3} } }\n");

	(void)state;
	assert_int_equal(config->services[0]->providers.n_users, 1);
	config_free(config);
}

static void test_run_dir_has_no_slash_at_its_end(void **state)
{
	struct config *config = load_text("run_dir = \"/run//usher//\"\n");

	(void)state;
	assert_string_equal(config->run_dir, "/run//usher");
	config_free(config);
	config = load_text("run_dir = \"//\"\n");
	assert_string_equal(config->run_dir, "/");
	config_free(config);
}

static void test_defaults_of_another_file(void **state)
{
	(void)state;
	write_config("defaults/d.conf", DEFAULTS);
	write_config("defaults/s.conf", SERVICES);
	check_merged("include(\"defaults/d.conf\")\n" SERVICES);
	check_merged(DEFAULTS "include(\"defaults/s.conf\")\n");
	check_merged("include(\"defaults/s.conf\")\ninclude(\"defaults/d.conf\")\n");
}

static void test_includes_are_sorted_and_relative_to_their_file(void **state)
{
	static const char *const files[] = {"in/top.conf", "in/sub/a.conf", "in/sub/b.conf",
		"in/sub/deep/[x]/c.conf", "in/sub/deep/[x]/d.conf"};
	struct config *config;

	(void)state;
	write_config("in/top.conf", "include(\"sub/*.conf\")\n");
	write_config("in/sub/b.conf", "include(\"deep/[[]x]/c.conf\")\n");
	write_config("in/sub/a.conf", "service a { listen = \"tcp:1\" }\n");
	write_config("in/sub/a.txt", "not read\n");
	write_config("in/sub/deep/[x]/c.conf", "include('d.conf')\n");
	write_config("in/sub/deep/[x]/d.conf", "\nservice d { listen = \"tcp:2\" }\n");
	config = load_file("in/top.conf");
	assert_int_equal(config->n_files, N_ELEMENTS(files));
	for (size_t i = 0; i < N_ELEMENTS(files); i++)
		assert_string_equal(config->files[i], files[i]);
	assert_string_equal(config_find_service(config, "d")->file, "in/sub/deep/[x]/d.conf");
	assert_int_equal(config_find_service(config, "d")->line, 2);
	config_free(config);
}

static void test_include_of_an_absolute_path(void **state)
{
	char *folder = get_current_dir_name(), *text;
	struct config *config;

	(void)state;
	write_config("absolute.conf", "log = stderr\n");
	assert_true(asprintf(&text, "include(\"%s/absolute.conf\")", folder) > 0);
	config = load_text(text);
	assert_int_equal(config->log, CONFIG_LOG_STDERR);
	config_free(config);
	free(text);
	free(folder);
}

static void test_pattern_may_match_nothing(void **state)
{
	struct config *config = load_text("include(\"nosuch/*.conf\")\n");

	(void)state;
	assert_int_equal(config->n_files, 1);
	config_free(config);
}

static void test_symbolic_link_to_a_file(void **state)
{
	struct config *config;

	(void)state;
	write_config("target.conf", "log = syslog\n");
	assert_int_equal(symlink("target.conf", "link.conf"), 0);
	config = load_file("link.conf");
	assert_int_equal(config->log, CONFIG_LOG_SYSLOG);
	config_free(config);
}

/* 10,000 services, each with an address of its own on one port, and one that conflicts with all. */
static char *many_services(bool is_wildcard_last)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	for (unsigned int i = 0; i < N_MANY; i++)
		fprintf(stream, "service s%u { # %u\nlisten = \"tcp:127.%u.%u.1:80\" }\n", i, i,
			i / 256, i % 256);
	if (is_wildcard_last)
		fputs("service all { listen = \"tcp:80\" }\n", stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

static void test_ten_thousand_services(void **state)
{
	char *text = many_services(false);
	struct config *config = load_text(text);

	(void)state;
	free(text);
	assert_int_equal(config->n_services, N_MANY);
	assert_int_equal(config_find_service(config, "s9999")->line, 2 * N_MANY - 1);
	config_free(config);
}

static void test_ten_thousand_conflicts(void **state)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	char *text = many_services(true);

	(void)state;
	write_config("c.conf", text);
	free(text);
	assert_true(config_load("c.conf", 0, &config, &errors) < 0);
	assert_int_equal(errors.n_lines, CONFIG_MAX_ERRORS + 1);
	assert_string_equal(errors.lines[0],
		"c.conf:20001: service 'all' listens on tcp:80, which service 's0' has as "
		"tcp:127.0.0.1:80 at c.conf:2");
	config_errors_done(&errors);
}

static void test_too_many_services(void **state)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	for (unsigned int i = 0; i <= CONFIG_MAX_SERVICES; i++)
		fprintf(stream, "service s%u { listen = \"unix:/s%u\" }\n", i, i);
	assert_int_equal(fclose(stream), 0);
	check_errors(text, "c.conf: there are 16385 services, expected at most 16384\n");
	free(text);
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
		if (is_enabled)
			memcpy(disable, "disable = false", strlen("disable = false"));
		write_config(path, text);
		free(text);
	}
	globfree(&found);
	free(pattern);
}

static void check_shipped_files(bool is_enabled)
{
	static const char *const names[] = {"chargen", "daytime", "discard", "echo", "time"};
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
	assert_int_equal(n, 4);
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

/* What begins the part of the page that is about a section. */
static const char *heading_of(const char *section)
{
	if (!section)
		return ".Ss Options of a service\n";
	return strcmp(section, "providers") == 0 ? ".Ss Options of providers\n"
						 : ".Ss Options of socket\n";
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
	static const char *const sections_of_globals[] = {"defaults", "service"};
	static const char *const sections_of_services[] = {"providers", "socket"};
	const char *globals = ".Ss Global options\n";
	char *page = read_source("man/usher.conf.5");

	(void)state;
	for (size_t i = 0; i < CONFIG_N_KEYS; i++)
		assert_int_equal(
			count_items(page, heading_of(config_keys[i].section), config_keys[i].name),
			1);
	for (size_t i = 0; i < CONFIG_N_GLOBALS; i++)
		assert_int_equal(count_items(page, globals, config_globals[i].name), 1);
	for (size_t i = 0; i < N_ELEMENTS(sections_of_services); i++)
		assert_int_equal(count_items(page, heading_of(NULL), sections_of_services[i]), 1);
	assert_int_equal(count_items(page, globals, sections_of_globals[0]), 1);
	assert_int_equal(count_all_items(page), CONFIG_N_KEYS + CONFIG_N_GLOBALS +
							N_ELEMENTS(sections_of_globals) +
							N_ELEMENTS(sections_of_services));
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_empty_file_is_all_defaults),
		check_test(test_global_options),
		check_test(test_user_by_number_has_its_name),
		check_test(test_log_targets),
		check_test(test_service_without_options_has_the_initial_values),
		check_test(test_every_option_of_a_service),
		check_test(test_durations),
		check_test(test_range_is_a_listener_for_each_port),
		check_test(test_comments_leave_the_lines_as_they_are),
		check_test(test_services_are_sorted_and_found),
		check_test(test_defaults_before_and_after_the_services),
		check_test(test_empty_list_of_a_service_overrides_the_defaults),
		check_test(test_empty_list_can_be_added_to),
		check_test(test_run_dir_has_no_slash_at_its_end),
		check_test(test_defaults_of_another_file),
		check_test(test_includes_are_sorted_and_relative_to_their_file),
		check_test(test_include_of_an_absolute_path),
		check_test(test_pattern_may_match_nothing),
		check_test(test_symbolic_link_to_a_file),
		check_test(test_ten_thousand_services),
		check_test(test_ten_thousand_conflicts),
		check_test(test_too_many_services),
		check_test(test_shipped_files_as_installed_listen_nowhere),
		check_test(test_shipped_files_enabled_listen_on_loopback),
		check_test(test_examples_of_the_manual),
		check_test(test_keys_are_those_of_the_manual),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
