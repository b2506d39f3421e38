/* SPDX-License-Identifier: MIT */
/*
 * What a configuration means: values, defaults, includes. Wrong ones are in test-config-errors.c,
 * the shipped files and the manual in test-config-shipped.c.
 */
#include "config-files.h"
#include "test.h"

#include "build-config.h"
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define N_MANY		  10000

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
	assert_int_equal(a->providers.accounts.n_users, 0);
	assert_int_equal(a->providers.accounts.n_groups, 0);
	assert_int_equal(a->providers.max, 16);
	assert_int_equal(a->providers.balance, CONFIG_BALANCE_LEAST);
	assert_int_equal(a->providers.takeover, CONFIG_TAKEOVER_SHARE);
	assert_int_equal(a->providers.n_forward, 0);
	assert_false(a->providers.may_set_peer);
	assert_int_equal(a->park.max, 1048576);
	assert_int_equal(a->park.timeout_usec, 300000000);
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
			  "balance = round_robin takeover = newest\n"
			  "forward = {b, a} set_peer = true }\n"
			  "park { max = 0 timeout = 24h }\n"
			  "socket { backlog = 5 nodelay = true keepalive = on\n"
			  "v6only = true freebind = yes } }\n"
			  "service b { listen = \"tcp:81\" }\n");
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
	assert_int_equal(a->providers.accounts.n_users, 2);
	assert_int_equal(a->providers.accounts.users[0], 0);
	assert_int_equal(a->providers.accounts.users[1], 4711);
	assert_int_equal(a->providers.accounts.n_groups, 1);
	assert_int_equal(a->providers.accounts.groups[0], 1);
	assert_int_equal(a->providers.max, 3);
	assert_int_equal(a->providers.balance, CONFIG_BALANCE_ROUND_ROBIN);
	assert_int_equal(a->providers.takeover, CONFIG_TAKEOVER_NEWEST);
	assert_int_equal(a->providers.n_forward, 2);
	assert_string_equal(a->providers.forward[0], "b");
	assert_string_equal(a->providers.forward[1], "a");
	assert_true(a->providers.may_set_peer);
	assert_int_equal(a->park.max, 0);
	assert_int_equal(a->park.timeout_usec, UINT64_C(86400000000));
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

/* Nothing, and for each key what is not its initial value; `disable` makes no difference. */
static const struct {
	const char *section, *option;
} changes[] = {
	{"", ""},
	{"", "listen = \"tcp:81\""},
	{"", "listen = {\"tcp:80\", \"tcp:81\"}"},
	{"", "instances = 2"},
	{"", "unavailable = reset"},
	{"", "claim_timeout = 1s"},
	{"", "deliver = listener"},
	{"", "only_from = 10.0.0.0"},
	{"", "only_from = 10.1.0.0"},
	{"", "only_from = {}"},
	{"", "no_access = 10.0.0.0"},
	{"", "access_times = \"08:00-18:00\""},
	{"", "access_times = \"08:00-18:01\""},
	{"", "per_source = 1"},
	{"", "per_source_prefix = {24, 64}"},
	{"", "per_source_prefix = {32, 56}"},
	{"", "cps = {1, 2}"},
	{"", "cps = {1, 1}"},
	{"", "rate = {1, 1min}"},
	{"", "rate = {2, 1min}"},
	{"", "per_source_rate = {1, 1min}"},
	{"", "max_load = 1"},
	{"", "sensor = true"},
	{"", "deny_time = forever"},
	{"", "refused_to = b"},
	{"", "log_on_success = host"},
	{"", "log_on_failure = host"},
	{"", "log_address = hash"},
	{"", "log_type = {syslog, daemon}"},
	{"", "log_type = {syslog, daemon, err}"},
	{"", "log_type = {syslog, mail}"},
	{"", "log_type = {file, /a}"},
	{"", "log_type = {file, /b}"},
	{"", "log_type = {file, /a, 1}"},
	{"", "log_type = {file, /a, 1, 2}"},
	{"providers", "users = 7"},
	{"providers", "users = 8"},
	{"providers", "groups = 7"},
	{"providers", "groups = 8"},
	{"providers", "max = 2"},
	{"providers", "balance = round_robin"},
	{"providers", "balance = source"},
	{"providers", "takeover = newest"},
	{"providers", "forward = a"},
	{"providers", "forward = {a, a}"},
	{"providers", "forward = b"},
	{"providers", "set_peer = true"},
	{"park", "max = 2"},
	{"park", "timeout = 2s"},
	{"socket", "backlog = 2"},
	{"socket", "nodelay = true"},
	{"socket", "keepalive = true"},
	{"socket", "v6only = true"},
	{"socket", "freebind = true"},
	{"socket", "transparent = true"},
	{"socket", "broadcast = true"},
	{"socket", "defer_accept = 1s"},
	{"socket", "receive_buffer = 1"},
	{"socket", "send_buffer = 1"},
	{"socket", "mode = 0600"},
	{"deliver = pass pass", "path = /p"},
	{"deliver = pass pass", "path = /q"},
	{"deliver = pass pass", "path = /p type = dgram"},
	{"deliver = pass pass", "path = /p attributes = postfix"},
	{"exec", "program = /p"},
	{"exec", "program = /q"},
	{"exec", "program = /p name = n"},
	{"exec", "program = /p args = n"},
	{"exec", "program = /p env = \"A=b\""},
	{"exec", "program = /p pass_env = A"},
	{"exec", "program = /p user = root"},
	{"exec", "program = /p group = root"},
	{"exec", "program = /p groups = false"},
	{"exec", "program = /p umask = 022"},
	{"exec", "program = /p nice = -1"},
	{"exec", "program = /p no_new_privs = true"},
	{"exec", "program = /p chroot = /c"},
	{"exec", "program = /p directory = /c"},
	{"exec", "program = /p banner = /c"},
	{"exec", "program = /p rlimit { as = 1 }"},
	{"exec", "program = /p rlimit { as = 2 }"},
	{"exec", "program = /p rlimit { core = 1 }"},
	{"exec", "program = /p rlimit { as = unlimited }"},
};

static struct config *load_changed(size_t i)
{
	const char *section = changes[i].section, *option = changes[i].option;
	bool is_listen = strncmp(option, "listen", strlen("listen")) == 0;
	bool is_pass = strncmp(section, "deliver = pass", strlen("deliver = pass")) == 0;
	char text[512];

	snprintf(text, sizeof(text),
		"service b { disable = true listen = \"unix:/b\" }\n"
		"service a {\n%s %s %s %s %s }\n",
		is_listen ? ""
		: is_pass ? "listen = \"tcp:80\""
			  : "listen = {\"tcp:80\", \"udp:80\", \"unix:/a\"}",
		section, *section ? "{" : "", option, *section ? "}" : "");
	return load_text(text);
}

static void test_services_are_equal_only_in_every_option(void **state)
{
	struct config *loaded[N_ELEMENTS(changes)];

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(changes); i++) {
		struct config *same = load_changed(i);

		loaded[i] = load_changed(i);
		assert_true(config_service_equal(same->services[0], loaded[i]->services[0]));
		for (size_t j = 0; j < i; j++)
			assert_false(config_service_equal(
				loaded[i]->services[0], loaded[j]->services[0]));
		config_free(same);
	}
	for (size_t i = 0; i < N_ELEMENTS(changes); i++)
		config_free(loaded[i]);
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

static void test_file_to_log_to_is_a_descriptor(void **state)
{
	struct config *config = load_text(
		"service a { listen = {\"tcp:80\"}\n"
		"log_type = {\"file\", \"/var/log/a\"} }\n"
		"service b { listen = {\"tcp:81\"} log_type = {\"syslog\", \"daemon\"} }");

	(void)state;
	assert_int_equal(config_n_fds(config), 256 + 2 * (1 + 1 + 2 * 16) + 1);
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
	"providers { users = {1, 2} max = 7 forward = {own, none} }\n"                             \
	"park { max = 8 timeout = 1s } socket { nodelay = true backlog = 9 } }\n"
#define SERVICES                                                                                   \
	"service own { listen = \"tcp:80\" instances = 6 unavailable = wait\n"                     \
	"providers { users = 3 forward = none } park { timeout = 2s }\n"                           \
	"socket { nodelay = false } }\n"                                                           \
	"service none { listen = \"tcp:81\" }\n"

static void check_merged(const char *text)
{
	struct config *config = load_text(text);
	const struct config_service *own = config_find_service(config, "own");
	const struct config_service *none = config_find_service(config, "none");

	assert_int_equal(own->instances, 6);
	assert_int_equal(own->unavailable, CONFIG_UNAVAILABLE_WAIT);
	assert_int_equal(own->providers.accounts.n_users, 1);
	assert_int_equal(own->providers.accounts.users[0], 3);
	assert_int_equal(own->providers.max, 7);
	assert_int_equal(own->providers.n_forward, 1);
	assert_string_equal(own->providers.forward[0], "none");
	assert_int_equal(own->park.max, 8);
	assert_int_equal(own->park.timeout_usec, 2000000);
	assert_false(own->socket.nodelay);
	assert_int_equal(own->socket.backlog, 9);
	assert_int_equal(own->claim_timeout_usec, 10000000);
	assert_int_equal(none->instances, 5);
	assert_int_equal(none->unavailable, CONFIG_UNAVAILABLE_REFUSE);
	assert_int_equal(none->providers.accounts.n_users, 2);
	assert_int_equal(none->providers.accounts.users[1], 2);
	assert_int_equal(none->providers.n_forward, 2);
	assert_string_equal(none->providers.forward[0], "own");
	assert_int_equal(none->park.timeout_usec, 1000000);
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
		assert_int_equal(config->services[0]->providers.accounts.n_users, 0);
		assert_int_equal(config->services[0]->providers.accounts.n_groups, 1);
		assert_int_equal(config->services[1]->providers.accounts.n_users, 1);
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
	assert_int_equal(config->services[0]->providers.accounts.n_users, 1);
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

static void test_monitors(void **state)
{
	struct config *config = load_text("monitors { users = {root, 4711}\ngroups = {daemon} }\n");
	struct config *none = load_text("monitors { users = {} }\n");

	(void)state;
	assert_int_equal(config->monitors.n_users, 2);
	assert_int_equal(config->monitors.users[0], 0);
	assert_int_equal(config->monitors.users[1], 4711);
	assert_int_equal(config->monitors.n_groups, 1);
	assert_int_equal(config->monitors.groups[0], 1);
	assert_int_equal(none->monitors.n_users, 0);
	assert_int_equal(none->monitors.n_groups, 0);
	config_free(config);
	config_free(none);
}

static void test_wrong_monitors(void **state)
{
	(void)state;
	check_errors("\nmonitors { users = {nobody-at-all} }\n",
		"c.conf:2: unknown user 'nobody-at-all', expected a name or number of "
		"passwd(5)\n");
	check_errors("monitors {\n groups = {65534} }\n",
		"c.conf:2: group '65534' is 65534, which everybody from another user namespace "
		"looks like, expected a group of its own\n");
	check_errors("monitors { users = {1} }\nmonitors { groups = {1} }\n",
		"c.conf:2: monitors is given a second time, the first is at c.conf:1: remove one "
		"of them\n");
	check_errors("monitors { users = {1} users = {2} }\n",
		"c.conf:1: users is given a second time, the first is at c.conf:1: remove one of "
		"them\n");
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
		check_test(test_services_are_equal_only_in_every_option),
		check_test(test_range_is_a_listener_for_each_port),
		check_test(test_file_to_log_to_is_a_descriptor),
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
		check_test(test_monitors),
		check_test(test_wrong_monitors),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
