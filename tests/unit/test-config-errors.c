/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with a configuration: each message, word for word, with the line it belongs to.
 *
 * getgrnam_r(3) is wrapped to be a database with large entries, or one that fails.
 */
#include "config-files.h"
#include "test.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

struct error_case {
	const char *text, *expected;
};

static void check_cases(const struct error_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check_errors(cases[i].text, cases[i].expected);
}

#define NOT_REACHABLE                                                                              \
	" has listen = {} and no other service forwards to it, expected an address to listen "     \
	"on, or its name in providers { forward } or in refused_to of another service\n"

/* What may stand in a service besides `disable` and `listen`. */
#define OTHER_OPTIONS                                                                              \
	"deliver, instances, unavailable, claim_timeout, only_from, no_access, access_times, per_source, per_source_prefix, cps, rate, per_source_rate, max_load, sensor, deny_time, refused_to, log_on_success, log_on_failure, log_address, log_type, providers, park, pass, exec or socket\n"

/* A service with a listener, around one more option. */
#define SERVICE(option) "service a {\nlisten = \"tcp:80\"\n" option "\n}\n"

static void test_values(void **state)
{
	static const struct error_case cases[] = {
		{SERVICE("disable = maybe"),
			"c.conf:3: disable is 'maybe', expected true or false\n"},
		{SERVICE("listen = \"sctp:53\""),
			"c.conf:3: listen is given a second time, the first is at c.conf:2: remove one of them\n"
			"c.conf:3: listen: unknown protocol in 'sctp:53', expected tcp:, udp:, "
			"mptcp:, unix:, unix-dgram:, unix-seqpacket: or vsock:\n"},
		{SERVICE("instances = 0"),
			"c.conf:3: instances is '0', expected a number from 1 to 1048576\n"},
		{SERVICE("instances = 1048577"),
			"c.conf:3: instances is '1048577', expected a number from 1 to 1048576\n"},
		{SERVICE("instances = 99999999999999999999999"),
			"c.conf:3: instances is '99999999999999999999999', expected a number from "
			"1 to "
			"1048576\n"},
		{SERVICE("instances = -1"),
			"c.conf:3: instances is '-1', expected a number from 1 to 1048576\n"},
		{SERVICE("instances = 0x10"),
			"c.conf:3: instances is '0x10', expected a number from 1 to 1048576\n"},
		{SERVICE("instances = \"\""),
			"c.conf:3: instances is '', expected a number from 1 to 1048576\n"},
		{SERVICE("unavailable = close"),
			"c.conf:3: unavailable is 'close', expected wait, refuse or reset\n"},
		{SERVICE("claim_timeout = 5"), "c.conf:3: claim_timeout is '5', which has no unit, "
					       "expected a duration from "
					       "100ms to 1h, as in 500ms, 5s, 2min or 1h\n"},
		{SERVICE("claim_timeout = 5sec"), "c.conf:3: claim_timeout is '5sec', expected a "
						  "duration from 100ms to 1h, as "
						  "in 500ms, 5s, 2min or 1h\n"},
		{SERVICE("claim_timeout = 99ms"), "c.conf:3: claim_timeout is '99ms', expected a "
						  "duration from 100ms to 1h, as "
						  "in 500ms, 5s, 2min or 1h\n"},
		{SERVICE("claim_timeout = 61min"), "c.conf:3: claim_timeout is '61min', expected a "
						   "duration from 100ms to 1h, as "
						   "in 500ms, 5s, 2min or 1h\n"},
		{SERVICE("claim_timeout = 18446744073709551615h"),
			"c.conf:3: claim_timeout is '18446744073709551615h', expected a duration "
			"from "
			"100ms to 1h, as in 500ms, 5s, 2min or 1h\n"},
		{SERVICE("claim_timeout = s"), "c.conf:3: claim_timeout is 's', expected a "
					       "duration from 100ms to 1h, as in "
					       "500ms, 5s, 2min or 1h\n"},
		{SERVICE("providers { max = 4097 }"),
			"c.conf:3: max is '4097', expected a number from 1 to 4096\n"},
		{SERVICE("providers { balance = random }"),
			"c.conf:3: balance is 'random', expected least, round_robin or source\n"},
		{SERVICE("providers { takeover = oldest }"),
			"c.conf:3: takeover is 'oldest', expected share or newest\n"},
		{SERVICE("providers { set_peer = {} }"),
			"c.conf:3: set_peer is {}, expected one value without braces\n"},
		{SERVICE("park { max = 1048577 }"),
			"c.conf:3: max is '1048577', expected a number from 0 to 1048576\n"},
		{SERVICE("park { timeout = 999ms }"),
			"c.conf:3: timeout is '999ms', expected a duration from 1s to 24h, as in "
			"5s, 2min or 1h\n"},
		{SERVICE("park { timeout = 25h }"),
			"c.conf:3: timeout is '25h', expected a duration from 1s to 24h, as in "
			"5s, 2min or 1h\n"},
		{SERVICE("socket { backlog = 65536 }"),
			"c.conf:3: backlog is '65536', expected a number from 1 to 65535\n"},
		{SERVICE("socket { v6only = 1 }"),
			"c.conf:3: v6only is '1', expected true or false\n"},
		{"\nrun_dir = run\n", "c.conf:2: run_dir is 'run', expected an absolute path\n"},
		{"log = file\n", "c.conf:1: log is 'file', expected journal, syslog, stderr or the "
				 "absolute path of a file\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_users_and_groups(void **state)
{
	static const struct error_case cases[] = {
		{SERVICE("providers { users = {root, \"no such\"} }"),
			"c.conf:3: unknown user 'no such', expected a name or number of "
			"passwd(5)\n"},
		{SERVICE("providers { users = {4294967295} }"),
			"c.conf:3: unknown user '4294967295', expected a name or number of "
			"passwd(5)\n"},
		{SERVICE("providers { users = {65534} }"),
			"c.conf:3: user '65534' is 65534, which everybody from another user "
			"namespace "
			"looks like, expected a user of its own\n"},
		{SERVICE("providers { users = {nobody} }"),
			"c.conf:3: user 'nobody' is 65534, which everybody from another user "
			"namespace "
			"looks like, expected a user of its own\n"},
		{SERVICE("providers { groups = {nosuch} }"),
			"c.conf:3: unknown group 'nosuch', expected a name or number of "
			"group(5)\n"},
		{SERVICE("providers { groups = {nogroup} }"),
			"c.conf:3: group 'nogroup' is 65534, which everybody from another user "
			"namespace looks like, expected a group of its own\n"},
		{"user = nosuch\n", "c.conf:1: unknown user 'nosuch', expected a name or number of "
				    "passwd(5)\n"},
		{"user = 4711471\n", "c.conf:1: unknown user '4711471', expected a name or number "
				     "of passwd(5)\n"},
		{"user = nobody\n", "c.conf:1: user 'nobody' is 65534, which everybody from "
				    "another user namespace "
				    "looks like, expected a user of its own\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

/* What the wrapped getgrnam_r() does: an entry that needs so much room, or an error. */
static size_t group_needs_bytes;
static int group_error;

int __real_getgrnam_r(
	const char *name, struct group *group, char *buffer, size_t size, struct group **result);
int __wrap_getgrnam_r(
	const char *name, struct group *group, char *buffer, size_t size, struct group **result);

int __wrap_getgrnam_r(
	const char *name, struct group *group, char *buffer, size_t size, struct group **result)
{
	*result = NULL;
	if (group_error != 0)
		return group_error;
	if (size < group_needs_bytes)
		return ERANGE;
	return __real_getgrnam_r(name, group, buffer, size, result);
}

static void test_group_with_a_large_entry_is_found(void **state)
{
	struct config *config;

	(void)state;
	group_needs_bytes = 100000;
	config = load_text(SERVICE("providers { groups = {daemon} }"));
	group_needs_bytes = 0;
	assert_int_equal(config->services[0]->providers.accounts.n_groups, 1);
	config_free(config);
}

static void test_database_that_fails(void **state)
{
	(void)state;
	group_error = EIO;
	check_errors(SERVICE("providers { groups = {daemon} }"),
		"c.conf:3: group 'daemon' cannot be looked up: Input/output error\n");
	group_error = ERANGE;
	check_errors(SERVICE("providers { groups = {daemon} }"),
		"c.conf:3: group 'daemon' cannot be looked up: Numerical result out of range\n");
	group_error = ESRCH;
	check_errors(SERVICE("providers { groups = {daemon} }"),
		"c.conf:3: unknown group 'daemon', expected a name or number of group(5)\n");
	group_error = 0;
}

static void test_unknown_options(void **state)
{
	static const struct error_case cases[] = {
		{"\nservices = 3\n",
			"c.conf:2: unknown option 'services', expected run_dir, user, "
			"log, sandbox, include, inetd_conf, xinetd_conf, xinetd_d, monitors, "
			"defaults or service\n"},
		{"monitors { pids = {1} }\n",
			"c.conf:1: unknown option 'pids' in monitors, expected users or groups\n"},
		{SERVICE("per_client = 3"),
			"c.conf:3: unknown option 'per_client' in service 'a', expected disable, "
			"listen, " OTHER_OPTIONS},
		{SERVICE("providers { sticky = true }"),
			"c.conf:3: unknown option 'sticky' in providers, expected users, groups, "
			"max, balance, takeover, forward or set_peer\n"},
		{SERVICE("park { min = 1 }"),
			"c.conf:3: unknown option 'min' in park, expected max or timeout\n"},
		{SERVICE("socket {\nmptcp = true }"),
			"c.conf:4: unknown option 'mptcp' in socket, expected backlog, nodelay, "
			"keepalive, v6only, freebind, transparent, broadcast, defer_accept, "
			"receive_buffer, send_buffer or mode\n"},
		{SERVICE("exec { rlimit { maxcpu = 3 } }"),
			"c.conf:3: unknown option 'maxcpu' in rlimit, expected as, cpu, core, "
			"data, fsize, memlock, nofile, nproc, rss or stack\n"},
		{SERVICE("rlimit { cpu = 3 }"),
			"c.conf:3: unknown option 'rlimit' in service 'a', expected disable, "
			"listen, " OTHER_OPTIONS},
		{"defaults { listen = \"tcp:80\" }\n",
			"c.conf:1: unknown option 'listen' in defaults, expected disable, " OTHER_OPTIONS},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_syntax(void **state)
{
	static const struct error_case cases[] = {
		{"\nservice a {\nproviders {\n}\n\n",
			"c.conf:2: the '{' of this line has no end, expected a '}' for it\n"},
		{"log = \n\n", "c.conf:3: the file ends too early, expected a value\n"},
		{"\n}\n", "c.conf:2: unexpected '}', expected an option\n"},
		{"user = = root\n", "c.conf:1: unexpected '=', see usher.conf(5), SYNTAX\n"},
		{"user root\n", "c.conf:1: no '=' after 'user', expected one\n"},
		{"user += root\n", "c.conf:1: 'user' is no list, expected '=' for '+='\n"},
		{"service { }\n", "c.conf:1: no name after 'service', expected one and '{'\n"},
		{"service a b { }\n", "c.conf:1: no '{' for 'service', expected one\n"},
		{"include = 3\n", "c.conf:1: no '(' after 'include', expected include(\"FILE\")\n"},
		{"log = \"\\9\"\n",
			"c.conf:1: unknown escape '\\9', expected \\\\ for a backslash\n"},
		{"providers|max = 3\n", "c.conf:1: syntax error near 'providers'\n"},
		{"\nlog = \"journal\n",
			"c.conf:2: this line has an opening quote, expected a closing one\n"},
		{"log = 'journal", "c.conf:1: this line has an opening quote, expected a closing "
				   "one\n"},
		{"/* one\ntwo", "c.conf:1: this comment has no end, expected \"*/\"\n"},
		{"log = \"/var/${NAME}\"\n", "c.conf:1: environment variables are not put in, "
					     "expected the value itself instead of \"${\"\n"},
		{"log = ${NAME}\n", "c.conf:1: environment variables are not put in, expected the "
				    "value itself instead of \"${\"\n"},
		{"\nlog = *\n",
			"c.conf:2: unexpected '*', expected quotes around a value that has one\n"},
		{"log + journal\n",
			"c.conf:1: unexpected '+', expected quotes around a value that has one\n"},
		{"include()\n",
			"c.conf:1: unclear '(', expected a file and ')', as in include(\"FILE\")\n"},
		{"include(\"a\", \"b\")\n",
			"c.conf:1: unclear '(', expected a file and ')', as in include(\"FILE\")\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_given_twice(void **state)
{
	static const struct error_case cases[] = {
		{SERVICE("instances = 3\ninstances = 3"),
			"c.conf:4: instances is given a second time, the first is at c.conf:3: remove one of them\n"},
		{SERVICE("providers { max = 3 }\nproviders { max = 3 }"),
			"c.conf:4: max is given a second time, the first is at c.conf:3: remove one of them\n"},
		{"log = journal\n\nlog = stderr\n",
			"c.conf:3: log is given a second time, the first is at c.conf:1: remove one of them\n"},
		{"defaults {\n}\ndefaults { }\n",
			"c.conf:3: defaults is given a second time, the first is at c.conf:1: remove one of them\n"},
		{"service a {\nlisten = {}\nlisten = {\"tcp:80\"} }\n",
			"c.conf:3: listen is given a second time, the first is at c.conf:2: remove one of them\n"
			"c.conf:1: service 'a'" NOT_REACHABLE},
		{SERVICE("listen = { # none\n }"),
			"c.conf:3: listen is given a second time, the first is at c.conf:2: remove one of them\n"
			"c.conf:1: service 'a'" NOT_REACHABLE},
		{SERVICE("providers { users = {} }\nproviders { users = {} }"),
			"c.conf:4: users is given a second time, the first is at c.conf:3: remove one of them\n"},
		{SERVICE("") "service a { listen = \"tcp:81\" }\n",
			"c.conf:5: service 'a' is given a second time, the first is at c.conf:1: remove one of them\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_empty_lists(void **state)
{
	static const struct error_case cases[] = {
		{"service a { listen = {} }\n", "c.conf:1: service 'a'" NOT_REACHABLE},
		{"service a {\nlisten = {}\nproviders { forward = a } }\n",
			"c.conf:1: service 'a'" NOT_REACHABLE},
		{SERVICE("instances = {}"),
			"c.conf:3: instances is {}, expected one value without braces\n"},
		{"log = {}\n", "c.conf:1: unexpected '{', see usher.conf(5), SYNTAX\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

#define TEN   "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static void test_names_and_paths(void **state)
{
	static const struct error_case cases[] = {
		{"service \"a b\" { listen = \"tcp:80\" }\n",
			"c.conf:1: bad service name 'a b', expected at most 63 letters, digits, "
			"'.', "
			"'_' and '-', the first not '.'\n"},
		{"service \"\" { listen = \"tcp:80\" }\n",
			"c.conf:1: bad service name '', expected at most 63 letters, digits, '.', "
			"'_' "
			"and '-', the first not '.'\n"},
		{"service .a { listen = \"tcp:80\" }\n",
			"c.conf:1: bad service name '.a', expected at most 63 letters, digits, "
			"'.', "
			"'_' and '-', the first not '.'\n"},
		{"service a/b { listen = \"tcp:80\" }\n",
			"c.conf:1: bad service name 'a/b', expected at most 63 letters, digits, "
			"'.', "
			"'_' and '-', the first not '.'\n"},
		{"service " FIFTY TEN "0123 { listen = \"tcp:80\" }\n",
			"c.conf:1: bad service name '" FIFTY TEN
			"0123', expected at most 63 letters, digits, '.', '_' and '-', the first "
			"not "
			"'.'\n"},
		{"service control { listen = \"tcp:80\" }\n",
			"c.conf:1: the name 'control' is taken by the control socket, expected "
			"another\n"},
		{"\nservice a\n{\n}\n",
			"c.conf:3: service 'a' has no 'listen', expected one, see usher.conf(5)\n"},
		{"run_dir = /" FIFTY "/" FIFTY "\n", "c.conf:1: run_dir has 102 bytes, expected at "
						     "most 94, because of the sockets "
						     "in it (unix(7))\n"},
		{"run_dir = /" FIFTY "\nservice " FIFTY "x { listen = \"tcp:80\" }\n",
			"c.conf:2: the rendezvous /" FIFTY "/" FIFTY
			"x.sock has 108 bytes, expected at most 107 (unix(7))\n"},
		{"run_dir = /r/\nservice a { listen = {\"unix:/rx\",\n\"unix:/r/x\"} }\n",
			"c.conf:3: service 'a' listens in run_dir, where usherd's own sockets are, "
			"expected another folder\n"},
		{"service a { listen = {\"tcp:1-1024\", \"tcp:1025\"} }\n",
			"c.conf:1: service 'a' has 1025 listeners, expected at most 1024\n"},
		{"service a { listen = {\"tcp:80\",\n\"unix:/x\"} unavailable = refuse }\n",
			"c.conf:2: service 'a' has unavailable = refuse and a unix: listener, "
			"which "
			"cannot refuse, expected wait or reset\n"},
		{"defaults { unavailable = refuse }\nservice a { listen = {\"unix:/x\"} }\n"
		 "service b { listen = {\"unix:/y\"} unavailable = reset }\n",
			"c.conf:2: service 'a' has unavailable = refuse and a unix: listener, "
			"which "
			"cannot refuse, expected wait or reset\n"},
		{"service a { listen = {\"udp:80\",\n\"vsock:80\"} unavailable = refuse }\n",
			"c.conf:2: service 'a' has unavailable = refuse and a vsock: listener, "
			"which cannot refuse, expected wait or reset\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_forward_to_a_service_that_is_not_there(void **state)
{
	static const struct error_case cases[] = {
		{SERVICE("providers {\nforward = {a, b, \"\"} }"),
			"c.conf:4: service 'a' forwards to 'b', which is no service of "
			"this configuration, expected the name of one\n"
			"c.conf:4: service 'a' forwards to '', which is no service of "
			"this configuration, expected the name of one\n"},
		{"\ndefaults { providers { forward = b } }\n" SERVICE(
			 "") "service c { listen = \"tcp:81\" providers { forward = a } }\n",
			"c.conf:2: service 'a' forwards to 'b', which is no service of "
			"this configuration, expected the name of one\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_service_without_a_listener_that_others_forward_to_is_no_error(void **state)
{
	struct config *config =
		load_text(SERVICE("providers { forward = b }") "service b { listen = {} }\n");

	(void)state;
	assert_int_equal(config->services[1]->n_listen, 0);
	config_free(config);
}

static void test_forward_to_a_disabled_service_is_no_error(void **state)
{
	(void)state;
	config_free(load_text(SERVICE("providers { forward = b }") "service b { disable = true "
								   "listen = \"tcp:81\" }\n"));
}

static void test_longest_rendezvous_fits(void **state)
{
	(void)state;
	config_free(load_text("run_dir = /" FIFTY "\nservice " FIFTY " { listen = \"tcp:80\" }\n"));
}

static void test_conflicts(void **state)
{
	static const struct error_case cases[] = {
		{SERVICE("") "service b {\nlisten = {\"tcp:81\",\n\"tcp:http\"} }\n",
			"c.conf:7: service 'b' listens on tcp:80, which service 'a' has at "
			"c.conf:2\n"},
		{SERVICE("") "service b { listen = \"tcp:127.0.0.1:80\" }\n",
			"c.conf:5: service 'b' listens on tcp:127.0.0.1:80, which service 'a' has "
			"as "
			"tcp:80 at c.conf:2\n"},
		{"service b { listen = \"tcp:[::1]:80\" }\n" SERVICE(""),
			"c.conf:3: service 'a' listens on tcp:80, which service 'b' has as "
			"tcp:[::1]:80 at c.conf:1\n"},
		{"service a { listen = {\"tcp:80\",\n\"tcp:79-81\"} }\n",
			"c.conf:2: service 'a' listens on tcp:80, which it has at c.conf:1\n"},
		{"service a { listen = \"unix:/run/x\" }\nservice b { listen = \"unix:/run/x\" }\n",
			"c.conf:2: service 'b' listens on unix:/run/x, which service 'a' has at "
			"c.conf:1\n"},
		{"service a { listen = \"tcp:[::1]:80\" }\nservice b { listen = \"tcp:1.2.3.4:80\" "
		 "}\n"
		 "service c { listen = \"tcp:[::]:80\" socket { v6only = true } }\n",
			"c.conf:3: service 'c' listens on tcp:[::]:80, which service 'a' has as "
			"tcp:[::1]:80 at c.conf:1\n"},
		{"service a { listen = \"tcp:80\" }\nservice b { listen = \"mptcp:1.2.3.4:80\" "
		 "}\n",
			"c.conf:2: service 'b' listens on mptcp:1.2.3.4:80, which service 'a' has "
			"as tcp:80 at c.conf:1\n"},
		{"service a { listen = \"unix:/a\" }\nservice b { listen = \"unix-dgram:/a\" }\n",
			"c.conf:2: service 'b' listens on unix-dgram:/a, which service 'a' has as "
			"unix:/a at c.conf:1\n"},
		{"service a { listen = {\"tcp:%eth0:80\", \"tcp:%eth1:80\"} }\n"
		 "service b { listen = \"tcp:1.2.3.4:80\" }\n"
		 "service c { listen = \"tcp:%eth0:80\" }\n",
			"c.conf:3: service 'c' listens on tcp:%eth0:80, which service 'a' has at "
			"c.conf:1\n"
			"c.conf:2: service 'b' listens on tcp:1.2.3.4:80, which service 'a' has as "
			"tcp:%eth1:80 at c.conf:1\n"},
		{"service a { listen = \"tcp:%eth0:80\" }\nservice b { listen = \"tcp:80\" }\n",
			"c.conf:2: service 'b' listens on tcp:80, which service 'a' has as "
			"tcp:%eth0:80 at c.conf:1\n"},
		{"service a { listen = {\"vsock:1:80\", \"vsock:2:80\"} }\n"
		 "service b { listen = \"vsock:80\" }\n",
			"c.conf:2: service 'b' listens on vsock:80, which service 'a' has as "
			"vsock:1:80 at c.conf:1\n"
			"c.conf:2: service 'b' listens on vsock:80, which service 'a' has as "
			"vsock:2:80 at c.conf:1\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_no_conflicts(void **state)
{
	static const char *const texts[] = {
		SERVICE("") "service b { disable = true listen = \"tcp:80\" }\n",
		SERVICE("socket { v6only = true }") "service b { listen = \"tcp:0.0.0.0:80\" }\n",
		"service a { listen = {\"tcp:0\", \"tcp:0\", \"tcp:127.0.0.1:0\"} }\n",
		"service a { listen = {\"tcp:80\", \"udp:80\", \"vsock:80\",\n\"vsock:1:81\"} }\n",
		"service a { listen = {\"vsock:1:81\", \"vsock:2:81\"} }\n",
		"service a { listen = {\"tcp:%eth0:80\", \"tcp:%eth1:80\", \"udp:%eth0:80\"} }\n",
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(texts); i++)
		config_free(load_text(texts[i]));
}

static void test_descriptor_limit(void **state)
{
	(void)state;
	write_config("c.conf", "service a { listen = \"tcp:80-89\" providers { max = 100 } }\n"
			       "service b { disable = true listen = \"tcp:90\" }\n");
	check_errors_of_file("c.conf", 256 + 10 + 1 + 200 - 1,
		"c.conf: 467 descriptors are needed and 466 allowed, expected a higher limit "
		"(LimitNOFILE= or ulimit -n) or a smaller providers { max }\n");
}

static void test_all_errors_of_all_files_at_once(void **state)
{
	(void)state;
	write_config("many/one.conf", "service a { instances = x }\n# comment\n"
				      "service b { listen = \"tcp:80\" bogus = 1 }\n"
				      "service never { instances = seen }\n");
	write_config("many/two.conf", "log = x\nservice c { listen = \"tcp:http\" }\n");
	write_config("c.conf", "/* three\n lines\n */ user = x\ninclude(\"many/*.conf\")\n"
			       "service d { listen = {\"tcp:x\", \"tcp:80\"} instances = y }\n");
	check_errors_of_file("c.conf", 0,
		"c.conf:3: unknown user 'x', expected a name or number of passwd(5)\n"
		"c.conf:5: listen: unknown service name 'x', expected a tcp name of services(5), a "
		"number, or a range as in 8000-8010\n"
		"c.conf:5: instances is 'y', expected a number from 1 to 1048576\n"
		"many/one.conf:1: instances is 'x', expected a number from 1 to 1048576\n"
		"many/one.conf:3: unknown option 'bogus' in service 'b', expected disable, listen, " OTHER_OPTIONS
		"many/two.conf:1: log is 'x', expected journal, syslog, stderr or the absolute "
		"path "
		"of a file\n"
		"many/one.conf:1: service 'a' has no 'listen', expected one, see usher.conf(5)\n"
		"many/two.conf:2: service 'c' listens on tcp:80, which service 'd' has at "
		"c.conf:5\n");
}

static void test_too_many_errors_are_cut(void **state)
{
	struct config_errors errors = {0};
	struct config *config;
	char *text;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	for (int i = 0; i < 2 * CONFIG_MAX_ERRORS; i++)
		fprintf(stream, "service s%d { listen = x }\n", i);
	assert_int_equal(fclose(stream), 0);
	write_config("c.conf", text);
	free(text);
	assert_int_equal(config_load("c.conf", 0, &config, &errors), -EINVAL);
	assert_int_equal(errors.n_lines, CONFIG_MAX_ERRORS + 1);
	assert_string_equal(
		errors.lines[CONFIG_MAX_ERRORS], "There are more errors, which are not shown.");
	config_errors_done(&errors);
}

#define NO_TEXT "this line has a control character or is not UTF-8, expected a text\n"

static void test_values_are_text(void **state)
{
	static const struct error_case cases[] = {
		{"\nrun_dir = \"/run/\x1b[2J\"\n", "c.conf:2: " NO_TEXT},
		{"log = '/a\tb'\n", "c.conf:1: " NO_TEXT},
		{"log = /a\x01\n", "c.conf:1: " NO_TEXT},
		{"user = caf\xe9\n", "c.conf:1: " NO_TEXT},
		{"user = caf\xc3\xa9\n", "c.conf:1: unknown user 'caf\xc3\xa9', expected a name or "
					 "number of passwd(5)\n"},
		{"service \"\x7f\" { listen = \"unix:/\xc2\x9b\" }\n",
			"c.conf:1: " NO_TEXT "c.conf:1: " NO_TEXT},
		{"include(\"\xff.conf\")\ninclude(\xff)\n",
			"c.conf:1: " NO_TEXT "c.conf:2: " NO_TEXT},
		{"log = \"/\\e[2J\\n\"\n",
			"c.conf:1: unknown escape '\\e', expected \\\\ for a backslash\n"
			"c.conf:1: unknown escape '\\n', expected \\\\ for a backslash\n"},
	};

	(void)state;
	check_cases(cases, N_ELEMENTS(cases));
}

static void test_names_of_files_do_not_draw_on_the_terminal(void **state)
{
	(void)state;
	check_errors_of_file("\x1b[2J\xff\xc2\x9b.conf", 0,
		"?[2J??"
		"?.conf: cannot be opened: No such file or directory\n");
}

static void test_wrong_includes(void **state)
{
	(void)state;
	check_errors("\ninclude(\"nosuch.conf\")\n", "c.conf:2: include(\"nosuch.conf\"): there is "
						     "no such file, expected one or a pattern\n");
	assert_int_equal(symlink("endless", "endless"), 0);
	check_errors("include(\"endless/*.conf\")\n",
		"c.conf:1: include(\"endless/*.conf\"): a "
		"folder cannot be read, expected one that can\n");
	write_config("twice/x.conf", "");
	check_errors("include(\"twice/x.conf\")\n\ninclude(\"twice/../twice/*.conf\")\n",
		"c.conf:3: 'twice/../twice/x.conf' is included a second time, the first is at "
		"c.conf:1\n");
	write_config("loop/a.conf", "include(\"b.conf\")\n");
	write_config("loop/b.conf", "\ninclude(\"a.conf\")\n");
	check_errors("include(\"loop/a.conf\")\n",
		"loop/b.conf:2: 'loop/a.conf' is included a second time, the first is at "
		"c.conf:1\n");
	write_config("loop/b.conf", "include(\"../c.conf\")\n");
	check_errors("include(\"loop/a.conf\")\n",
		"loop/b.conf:1: 'loop/../c.conf' is included, but the configuration begins with "
		"it\n");
}

static void test_file_that_cannot_be_opened(void **state)
{
	(void)state;
	check_errors_of_file(
		"nosuch.conf", 0, "nosuch.conf: cannot be opened: No such file or directory\n");
}

/* As usherd does after it has become its user: a reload reads the files with that user's rights. */
static void test_file_that_the_user_may_not_read(void **state)
{
	(void)state;
	write_config("secret.conf", "");
	assert_int_equal(chmod("secret.conf", 0600), 0);
	assert_int_equal(chmod(".", 0755), 0);
	assert_int_equal(seteuid(1), 0);
	check_errors_of_file("secret.conf", 0,
		"secret.conf: cannot be opened: Permission denied, expected that the user "
		"'daemon', who runs this, may read it\n");
	assert_int_equal(seteuid(0), 0);
}

static void test_file_that_is_no_file(void **state)
{
	(void)state;
	assert_int_equal(mkdir("folder.conf", 0755), 0);
	check_errors_of_file(
		"folder.conf", 0, "folder.conf: is not a regular file, expected one\n");
	assert_int_equal(mkfifo("fifo.conf", 0600), 0);
	check_errors_of_file("fifo.conf", 0, "fifo.conf: is not a regular file, expected one\n");
}

static void test_file_that_others_can_write(void **state)
{
	(void)state;
	write_config("w.conf", "");
	assert_int_equal(chmod("w.conf", 0646), 0);
	check_errors_of_file("w.conf", 0,
		"w.conf: is writable by others than its owner (mode 0646), expected chmod go-w\n");
	assert_int_equal(chmod("w.conf", 0664), 0);
	check_errors_of_file("w.conf", 0,
		"w.conf: is writable by others than its owner (mode 0664), expected chmod go-w\n");
}

static void test_file_of_somebody_else(void **state)
{
	(void)state;
	write_config("o.conf", "");
	assert_int_equal(chown("o.conf", 1, 1), 0);
	check_errors_of_file("o.conf", 0,
		"o.conf: belongs to the user with the id 1, expected root or the user who runs "
		"this\n");
}

static void test_file_that_is_too_large(void **state)
{
	(void)state;
	write_config("large.conf", "");
	assert_int_equal(truncate("large.conf", CONFIG_MAX_FILE_BYTES + 1), 0);
	check_errors_of_file(
		"large.conf", 0, "large.conf: has more than 16777216 bytes, expected fewer\n");
}

static void test_file_that_is_no_text(void **state)
{
	(void)state;
	write_config("zero.conf", "# x\n");
	assert_int_equal(truncate("zero.conf", 5), 0);
	check_errors_of_file("zero.conf", 0, "zero.conf: has a NUL byte, expected a text\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_values),
		check_test(test_users_and_groups),
		check_test(test_group_with_a_large_entry_is_found),
		check_test(test_database_that_fails),
		check_test(test_unknown_options),
		check_test(test_syntax),
		check_test(test_given_twice),
		check_test(test_empty_lists),
		check_test(test_names_and_paths),
		check_test(test_forward_to_a_service_that_is_not_there),
		check_test(test_service_without_a_listener_that_others_forward_to_is_no_error),
		check_test(test_forward_to_a_disabled_service_is_no_error),
		check_test(test_longest_rendezvous_fits),
		check_test(test_conflicts),
		check_test(test_no_conflicts),
		check_test(test_descriptor_limit),
		check_test(test_all_errors_of_all_files_at_once),
		check_test(test_too_many_errors_are_cut),
		check_test(test_values_are_text),
		check_test(test_names_of_files_do_not_draw_on_the_terminal),
		check_test(test_wrong_includes),
		check_test(test_file_that_cannot_be_opened),
		check_test_if(test_is_root(), test_file_that_the_user_may_not_read),
		check_test(test_file_that_is_no_file),
		check_test(test_file_that_others_can_write),
		check_test_if(test_is_root(), test_file_of_somebody_else),
		check_test(test_file_that_is_too_large),
		check_test(test_file_that_is_no_text),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
