/* SPDX-License-Identifier: MIT */
/*
 * What of one service does not go together: each is an error that names it, where it is the
 * service's own, and does nothing where it comes from the defaults.
 */
#include "config-files.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define LENT		  "has lent sockets only, whose clients usherd does not see"
#define PASSED		  "has deliver = pass, where nobody registers and connections are not counted"
#define NO_PASS		  "has not deliver = pass"
#define NO_EXEC		  "has no exec { program }"
#define SERVED		  "is served, by a program or a receiver, which nobody would reach"
#define NO_HOSTS	  "has no listener whose clients have an internet address"

#define UDP		  "listen = \"udp:69\""
#define WAIT		  "listen = \"tcp:80\" deliver = listener"
#define PASS		  "listen = \"tcp:80\" deliver = pass pass { path = /p }"
#define UNIX		  "listen = \"unix:/u\""
#define TCP		  "listen = \"tcp:80\""
#define EXEC		  "listen = \"tcp:80\" exec { program = /p }"

/* A service, an option in a section ("" none) that it cannot have, and why. */
static const struct {
	const char *service, *section, *option, *key, *because;
} misfits[] = {
	{UDP, "", "instances = 7", "instances", LENT},
	{UDP, "", "unavailable = reset", "unavailable", LENT},
	{UDP, "", "unavailable = refuse", "unavailable", LENT},
	{UDP, "", "claim_timeout = 1s", "claim_timeout", LENT},
	{UDP, "", "access_times = 08:00-09:00", "access_times", LENT},
	{UDP, "", "per_source = 7", "per_source", LENT},
	{UDP, "", "per_source_rate = {7, 1s}", "per_source_rate", LENT},
	{UDP, "", "cps = {7, 1}", "cps", LENT},
	{UDP, "", "rate = {7, 1s}", "rate", LENT},
	{UDP, "", "max_load = 7", "max_load", LENT},
	{UDP, "", "sensor = true", "sensor", LENT},
	{UDP, "", "refused_to = b", "refused_to", LENT},
	{UDP, "providers", "forward = b", "forward", LENT},
	{UDP, "park", "max = 7", "max", LENT},
	{UDP, "park", "timeout = 7s", "timeout", LENT},
	{WAIT, "", "instances = 7", "instances", LENT},
	{WAIT, "", "cps = {7, 1}", "cps", LENT},
	{PASS, "", "per_source = 7", "per_source", PASSED},
	{PASS, "exec", "program = /p", "program", PASSED},
	{PASS, "", "sensor = true", "sensor", SERVED},
	{PASS, "providers", "users = root", "users", PASSED},
	{PASS, "providers", "groups = root", "groups", PASSED},
	{PASS, "providers", "max = 7", "max", PASSED},
	{PASS, "providers", "balance = round_robin", "balance", PASSED},
	{PASS, "providers", "takeover = newest", "takeover", PASSED},
	{PASS, "providers", "forward = b", "forward", PASSED},
	{PASS, "providers", "set_peer = true", "set_peer", PASSED},
	{TCP, "pass", "path = /p", "path", NO_PASS},
	{TCP, "pass", "type = dgram", "type", NO_PASS},
	{TCP, "pass", "attributes = postfix", "attributes", NO_PASS},
	{TCP, "exec", "name = n", "name", NO_EXEC},
	{TCP, "exec", "args = n", "args", NO_EXEC},
	{TCP, "exec", "env = \"A=b\"", "env", NO_EXEC},
	{TCP, "exec", "pass_env = A", "pass_env", NO_EXEC},
	{TCP, "exec", "user = root", "user", NO_EXEC},
	{TCP, "exec", "group = root", "group", NO_EXEC},
	{TCP, "exec", "groups = false", "groups", NO_EXEC},
	{TCP, "exec", "umask = 022", "umask", NO_EXEC},
	{TCP, "exec", "nice = 1", "nice", NO_EXEC},
	{TCP, "exec", "no_new_privs = true", "no_new_privs", NO_EXEC},
	{TCP, "exec", "chroot = /c", "chroot", NO_EXEC},
	{TCP, "exec", "directory = /c", "directory", NO_EXEC},
	{TCP, "exec", "banner = /c", "banner", NO_EXEC},
	{TCP, "exec", "rlimit { as = 1 }", "as", NO_EXEC},
	{EXEC, "", "sensor = true", "sensor", SERVED},
	{UNIX, "", "only_from = 10.0.0.1", "only_from", NO_HOSTS},
	{UNIX, "", "no_access = 10.0.0.1", "no_access", NO_HOSTS},
	{UNIX, "", "per_source = 7", "per_source", NO_HOSTS},
	{UNIX, "", "per_source_rate = {7, 1s}", "per_source_rate", NO_HOSTS},
	{UNIX, "", "sensor = true", "sensor", NO_HOSTS},
	{UNIX, "socket", "transparent = true", "transparent", NO_HOSTS},
	{UNIX, "socket", "broadcast = true", "broadcast", "has no udp: listener"},
	{UNIX, "socket", "defer_accept = 1s", "defer_accept", "has no tcp: listener"},
	{TCP, "socket", "mode = 0600", "mode", "has no listener in the file system"},
	{TCP, "socket", "broadcast = true", "broadcast", "has no udp: listener"},
	{UDP, "socket", "defer_accept = 1s", "defer_accept", "has no tcp: listener"},
};

#define OTHER "service b { listen = {\"tcp:81\"} }\n"

static void format_option(char *text, size_t size, size_t i)
{
	const char *section = misfits[i].section;

	snprintf(text, size, "%s %s %s %s", section, *section ? "{" : "", misfits[i].option,
		*section ? "}" : "");
}

static void test_own_options_that_cannot_be_carried_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(misfits); i++) {
		char option[128], text[512], expected[512];

		format_option(option, sizeof(option), i);
		snprintf(text, sizeof(text), "service a { %s\n%s }\n" OTHER, misfits[i].service,
			option);
		snprintf(expected, sizeof(expected),
			"c.conf:2: %s cannot be carried out, because service 'a' %s, expected it "
			"without\n",
			misfits[i].key, misfits[i].because);
		check_errors(text, expected);
	}
}

/* Service `a` is as if the defaults said nothing. */
static void test_defaults_are_for_those_who_can(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(misfits); i++) {
		char option[128], text[512];
		struct config *config, *without;

		format_option(option, sizeof(option), i);
		snprintf(text, sizeof(text), "service a { %s }\n" OTHER, misfits[i].service);
		without = load_text(text);
		snprintf(text, sizeof(text),
			"defaults { %s }\nservice a { %s }\nservice b { deliver = connection listen "
			"= "
			"{} }\nservice c { listen = \"tcp:99\" deliver = connection providers { "
			"forward = b } }\n",
			option, misfits[i].service);
		config = load_text(text);
		assert_true(config_service_equal(config->services[0], without->services[0]));
		config_free(config);
		config_free(without);
	}
}

static void test_nothing_said_is_no_misfit(void **state)
{
	static const char *const texts[] = {
		"service a { " UDP " unavailable = wait instances = 1024 cps = {} sensor = false\n"
		"only_from = 10.0.0.0 no_access = 10.9.0.0 log_on_failure = {} deny_time = 1s\n"
		"providers { users = root max = 3 } exec { program = /p user = root } }\n",
		"service a { listen = {\"tcp:80\", \"udp:80\"} instances = 3 per_source = 3 }\n",
		"service a { " PASS " instances = 3 cps = {1, 1} per_source_rate = {1, 1s}\n"
		"only_from = 10.0.0.0 providers { max = 16 } }\n",
		"service a { listen = {} socket { mode = 0600 defer_accept = 1s } per_source = 3 }\n"
		"service b { " TCP " providers { forward = a } }\n",
		"service a { listen = {\"unix:/a\"} cps = {1, 1} rate = {1, 1s} max_load = 3 }\n",
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		config_free(load_text(texts[i]));
}

static void test_pass_and_its_receiver(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"service a { listen = \"tcp:80\" deliver = pass }\n",
			"c.conf:1: service 'a' has deliver = pass and no receiver, expected pass { "
			"path = ... }\n"},
		{"service a { listen = \"tcp:80\" deliver = pass\n"
		 "pass { path = /p type = seqpacket attributes = postfix } }\n",
			"c.conf:1: service 'a' has attributes = postfix and another type than "
			"stream, expected type = stream\n"},
		{"service a { deliver = pass pass { path = /p }\nlisten = {\"tcp:80\",\n"
		 "\"udp:80\"} }\n",
			"c.conf:3: service 'a' has deliver = pass and a listener of datagrams, "
			"which has no connections to pass, expected another service for it\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_errors(cases[i].text, cases[i].expected);
}

static void test_lent_vsock_has_no_only_from(void **state)
{
	(void)state;
	check_errors("service a {\nlisten = {\"tcp:81\", \"vsock:81\"} deliver = listener\n"
		     "only_from = {\"10.0.0.0/8\"} }\n",
		"c.conf:2: service 'a' has only_from and lends a vsock: listener, whose clients "
		"nobody would keep out, expected another service for it\n");
	config_free(load_text("service a { listen = {\"tcp:81\", \"vsock:81\"}\n"
			      "only_from = {\"10.0.0.0/8\"} }\n"));
}

static void test_who_takes_refused_clients(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"service a { " TCP "\nrefused_to = b }\n",
			"c.conf:2: service 'a' gives refused clients to 'b', which is no service "
			"of this configuration, expected the name of one\n"},
		{"service a { " TCP "\nrefused_to = a }\n",
			"c.conf:2: service 'a' gives refused clients to itself, expected another "
			"service\n"},
		{"service a { " TCP "\nrefused_to = b }\n"
		 "service b { listen = {}\nrefused_to = c }\n"
		 "service c { listen = {}\nrefused_to = b }\n",
			"c.conf:4: service 'b' gives refused clients to 'c', whose own refused "
			"clients come back to it, expected refused_to in no circle\n"
			"c.conf:6: service 'c' gives refused clients to 'b', whose own refused "
			"clients come back to it, expected refused_to in no circle\n"},
		{"service a { " TCP "\nrefused_to = b }\nservice b { " UDP " }\n",
			"c.conf:2: service 'a' gives refused clients to 'b', which takes no "
			"connections by usherd, expected a service that does\n"},
		{"service a { listen = \"tcp:81\"\nrefused_to = b }\nservice b { " PASS " }\n",
			"c.conf:2: service 'a' gives refused clients to 'b', which takes no "
			"connections by usherd, expected a service that does\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_errors(cases[i].text, cases[i].expected);
}

static void test_service_for_refused_clients_in_the_defaults(void **state)
{
	struct config *config = load_text("defaults { refused_to = b }\nservice a { " TCP
					  " }\nservice b { listen = \"tcp:81\" }\n");

	(void)state;
	assert_string_equal(config->services[0]->admission.refused_to, "b");
	assert_null(config->services[1]->admission.refused_to);
	config_free(config);
}

static void test_service_for_refused_clients_alone(void **state)
{
	(void)state;
	config_free(load_text("service a { " TCP " refused_to = b }\nservice b { listen = {} }\n"));
}

/* A service with `n` networks besides a name, and this. To be freed. */
static char *many_rules(const char *service, size_t n)
{
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	assert_non_null(stream);
	fprintf(stream, "service a { %s\nno_access = {\"host.example\"", service);
	for (size_t i = 0; i < n; i++)
		fprintf(stream, ", \"10.0.%zu.%zu\"", i / 200, i % 200 + 1);
	fputs("} }\n", stream);
	assert_int_equal(fclose(stream), 0);
	return text;
}

static void test_rules_of_lent_sockets_are_limited(void **state)
{
	char *most = many_rules(UDP, 984), *more = many_rules(UDP, 985);
	char *of_tcp = many_rules(TCP, 5000);

	(void)state;
	config_free(load_text(most));
	check_errors(more, "c.conf:1: service 'a' has 1001 networks in only_from and no_access, "
			   "where a name counts as 16, expected at most 1000 for lent sockets\n");
	config_free(load_text(of_tcp));
	free(most);
	free(more);
	free(of_tcp);
}

/* Load this text; expect this warning, or none. */
static void check_warning(const char *text, const char *expected)
{
	struct config_errors errors = {0};
	struct config *config;

	write_config("c.conf", text);
	assert_int_equal(config_load("c.conf", 0, &config, &errors), 0);
	assert_int_equal(errors.n_warnings, expected ? 1 : 0);
	if (expected)
		assert_string_equal(errors.warnings[0], expected);
	config_errors_done(&errors);
	config_free(config);
}

static void test_unknown_user_of_a_disabled_service_is_a_warning(void **state)
{
	static const char warning[] =
		"c.conf:1: warning: unknown user 'nosuch', expected a name or number of passwd(5)";
	static const char error[] =
		"c.conf:1: unknown user 'nosuch', expected a name or number of passwd(5)\n";

	(void)state;
	check_warning(
		"service a { listen = \"tcp:80\" providers { users = {nosuch} } disable = true }",
		warning);
	check_warning("service a { providers { users = {nosuch} } listen = \"tcp:80\" }\n"
		      "defaults { disable = true }",
		warning);
	check_warning("service a { exec { user = nosuch program = /p } listen = \"tcp:80\" "
		      "disable = true }",
		warning);
	check_errors("service a { listen = \"tcp:80\" providers { users = {nosuch} } }", error);
	check_errors(
		"service a { listen = \"tcp:80\" exec { user = nosuch program = /p } }", error);
	check_errors("defaults { disable = true providers { users = {nosuch} } }", error);
	check_errors(
		"service a { providers { users = {nosuch} } listen = \"tcp:80\" disable = false }\n"
		"defaults { disable = true }",
		error);
}

static void test_program_without_a_user_is_a_warning(void **state)
{
	(void)state;
	check_warning("service a {\nlisten = \"tcp:80\" exec { program = /p group = root } }\n",
		"c.conf:1: warning: service 'a' runs /p as whoever runs usher-exec(8), which is root "
		"by default, expected exec { user }; if it is meant so, name that user there");
	check_warning(
		"service a { listen = \"tcp:80\" exec { program = /p user = root } }\n", NULL);
	check_warning("defaults { exec { user = daemon } }\n"
		      "service a { listen = \"tcp:80\" exec { program = /p } }\n",
		NULL);
	check_warning(
		"service a { listen = \"tcp:80\" disable = true exec { program = /p } }\n", NULL);
	check_warning("service a { listen = \"tcp:80\" }\n", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_own_options_that_cannot_be_carried_out),
		check_test(test_defaults_are_for_those_who_can),
		check_test(test_nothing_said_is_no_misfit),
		check_test(test_pass_and_its_receiver),
		check_test(test_lent_vsock_has_no_only_from),
		check_test(test_who_takes_refused_clients),
		check_test(test_service_for_refused_clients_in_the_defaults),
		check_test(test_service_for_refused_clients_alone),
		check_test(test_rules_of_lent_sockets_are_limited),
		check_test(test_unknown_user_of_a_disabled_service_is_a_warning),
		check_test(test_program_without_a_user_is_a_warning),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
