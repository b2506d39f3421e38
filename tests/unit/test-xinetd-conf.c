/* SPDX-License-Identifier: MIT */
/* xinetd.conf as usher.conf: every attribute, how defaults and operators work, and what is wrong.
 */
#include "translations.h"

#include "compat/xinetd-conf.h"
#include "test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define NEEDED		  "\tsocket_type = stream\n\twait = no\n\tuser = u\n\tserver = /p\n"
#define SERVICE(lines)	  "service s\n{\n" NEEDED lines "}\n"
#define HEAD		  "service s {\n    listen = {\"tcp:0.0.0.0:s\"}\n"
#define EXEC(lines)                                                                                \
	"    exec {\n        program = \"/p\"\n" lines "        user = \"u\"\n"                    \
	"        groups = false\n"

#define NOT_LENT(key)                                                                              \
	"f:1: " key " is not carried out for 's', which is lent the socket (dgram, or wait = "     \
	"yes)\n"

/* What a line adds to a service: before exec {}, between program and user, and at its end. */
static void check_line(const char *line, const char *before, const char *middle, const char *end)
{
	char *text, *conf;

	assert_true(asprintf(&text, "service s\n{\n" NEEDED "\t%s\n}\n", line) > 0);
	assert_true(asprintf(&conf,
			    HEAD "%s    exec {\n        program = \"/p\"\n%s"
				 "        user = \"u\"\n%s    }\n}\n",
			    before, middle, end) > 0);
	check_xinetd(text, conf, "");
	free(text);
	free(conf);
}

static void test_attributes_of_the_service(void **state)
{
	static const struct {
		const char *line, *expected;
	} cases[] = {
		{"", ""},
		{"instances = 7", "    instances = 7\n"},
		{"instances = UNLIMITED", "    instances = 1048576\n"},
		{"per_source = 3", "    per_source = 3\n"},
		{"per_source = UNLIMITED", "    per_source = 0\n"},
		{"cps = 25 30", "    cps = {25, \"30s\"}\n"},
		{"cps = 25 0", "    cps = {25, \"1s\"}\n"},
		{"cps = 0 0", ""},
		{"max_load = 2.5", "    max_load = \"2.5\"\n"},
		{"only_from = 10.0.0.0 .example.com 10.1.{2,3}",
			"    only_from = {\"10.0.0.0\", \".example.com\", \"10.1.{2,3}\"}\n"},
		{"only_from =", "    only_from = {}\n"},
		{"no_access = 10.0.0.1", "    no_access = {\"10.0.0.1\"}\n"},
		{"access_times = 2:00-9:00 12:30-23:59",
			"    access_times = {\"02:00-09:01\", \"12:30-24:00\"}\n"},
		{"log_on_success = PID HOST EXIT DURATION",
			"    log_on_success = {\"pid\", \"host\", \"exit\", \"duration\"}\n"},
		{"log_on_success =", "    log_on_success = {}\n"},
		{"log_on_failure = HOST ATTEMPT", "    log_on_failure = {\"reason\", \"host\"}\n"},
		{"log_on_failure =", "    log_on_failure = {}\n"},
		{"log_type = SYSLOG local3 notice",
			"    log_type = {\"syslog\", \"local3\", \"notice\"}\n"},
		{"log_type = SYSLOG auth", "    log_type = {\"syslog\", \"auth\"}\n"},
		{"log_type = FILE /var/log/s 8k 1M",
			"    log_type = {\"file\", \"/var/log/s\", \"8KiB\", \"1MiB\"}\n"},
		{"flags = REUSE NODELAY KEEPALIVE NORETRY NOLIBWRAP IPv4 INTERCEPT",
			"    socket {\n        nodelay = true\n        keepalive = true\n    }\n"},
		{"disable = no", ""},
		{"id = s", ""},
		{"mdns = no", ""},
		{"protocol = tcp", ""},
		{"type = UNLISTED\n\tport = s", ""},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_line(cases[i].line, cases[i].expected, "", "        groups = false\n");
}

static void test_attributes_of_the_program(void **state)
{
	static const struct {
		const char *line, *middle, *end;
	} cases[] = {
		{"group = g", "", "        group = \"g\"\n        groups = false\n"},
		{"groups = yes", "", "        groups = true\n"},
		{"umask = 027", "", "        groups = false\n        umask = 027\n"},
		{"nice = -5", "", "        groups = false\n        nice = \"-5\"\n"},
		{"env = A=1 B=\"x", "",
			"        groups = false\n        env = {\"A=1\", \"B=\\\"x\"}\n"},
		{"passenv = PATH TZ", "",
			"        groups = false\n        pass_env = {\"PATH\", \"TZ\"}\n"},
		{"server_args = -l \"a b\"", "        args = {\"-l\", \"\\\"a\", \"b\\\"\"}\n",
			"        groups = false\n"},
		{"flags = NAMEINARGS\n\tserver_args = q -l",
			"        name = \"q\"\n        args = {\"-l\"}\n",
			"        groups = false\n"},
		{"rlimit_as = 8M\n\trlimit_cpu = 20\n\trlimit_data = 9k\n\trlimit_rss = 7\n"
		 "\trlimit_stack = UNLIMITED\n\trlimit_files = 64",
			"",
			"        groups = false\n        rlimit {\n            as = \"8MiB\"\n"
			"            cpu = \"20s\"\n            data = \"9KiB\"\n"
			"            nofile = 64\n            rss = 7\n"
			"            stack = \"unlimited\"\n        }\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_line(cases[i].line, "", cases[i].middle, cases[i].end);
}

static void check_listen(const char *lines, const char *expected)
{
	struct translation translation = {0};
	const struct translation_assignment *listen;
	char *text, *found = NULL;
	size_t size;
	FILE *stream = open_memstream(&found, &size);

	assert_true(asprintf(&text, "service s\n{\nwait = no\nuser = u\nserver = /p\n%s\n}\n",
			    lines) > 0);
	xinetd_conf_translate(&translation, "f", text, &translations_facts);
	assert_int_equal(translation.n_warnings, 0);
	assert_int_equal(translation.n_services, 1);
	listen = translation_find(translation.services[0], NULL, "listen");
	for (size_t i = 0; i < listen->n_texts; i++)
		fprintf(stream, "%s ", listen->texts[i]);
	if (translation_find(translation.services[0], "socket", "v6only"))
		fputs("v6only", stream);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(found, expected);
	translation_done(&translation);
	free(found);
	free(text);
}

static void test_addresses(void **state)
{
	(void)state;
	translations_facts.has_ipv6 = true;
	check_listen("socket_type = stream", "tcp:0.0.0.0:s tcp:[::]:s v6only");
	check_listen("protocol = tcp\nflags = IPv4", "tcp:0.0.0.0:s ");
	check_listen("socket_type = dgram\nflags = IPv4", "udp:0.0.0.0:s ");
	check_listen("socket_type = dgram\nprotocol = udp\nport = 69",
		"udp:0.0.0.0:69 udp:[::]:69 v6only");
	check_listen("socket_type = stream\nv6only = yes", "tcp:[::]:s v6only");
	check_listen("socket_type = stream\nv6only = yes\nflags = IPv4", "tcp:0.0.0.0:s ");
	check_listen("socket_type = stream\nbind = 10.0.0.1", "tcp:10.0.0.1:s ");
	check_listen("socket_type = stream\ninterface = ::1", "tcp:[::1]:s ");
	check_listen("socket_type = stream\nbind = gate", "tcp:gate:s ");
	check_listen("socket_type = stream\nbind = gate\nflags = IPv6", "tcp6:gate:s ");
	check_listen("socket_type = dgram\ninterface = gate\nflags = IPv4", "udp4:gate:s ");
	check_listen("socket_type = stream\nflags = IPv6", "tcp:0.0.0.0:s tcp:[::]:s v6only");
	check_listen("socket_type = stream\nflags = IPv6\nv6only = yes", "tcp:[::]:s v6only");
	translations_facts.has_ipv6 = false;
	check_listen("socket_type = stream\nflags = IPv6", "tcp:0.0.0.0:s ");
}

static void test_wait_lends(void **state)
{
	(void)state;
	check_xinetd("service s\n{\nsocket_type = stream\nwait = yes\nuser = u\nserver = /p\n}\n",
		HEAD "    deliver = \"listener\"\n" EXEC("") "    }\n}\n", "");
}

static void test_defaults_are_where_services_begin(void **state)
{
	(void)state;
	check_xinetd("defaults\n{\nonly_from = 10.0.0.0\nonly_from = 10.0.0.1\ninstances = 5\n"
		     "per_source = 2\numask = 077\nlog_on_success = HOST PID\n}\n" SERVICE(
			     "only_from += 10.0.0.2\ninstances = 9\nlog_on_success -= HOST\n"),
		HEAD "    only_from = {\"10.0.0.0\", \"10.0.0.1\", \"10.0.0.2\"}\n"
		     "    instances = 9\n    per_source = 2\n"
		     "    log_on_success = {\"pid\"}\n" EXEC("") "        umask = 077\n    }\n}\n",
		"");
}

static void test_service_sets_instead_of_adding(void **state)
{
	(void)state;
	check_xinetd("defaults\n{\nonly_from = 10.0.0.0\n}\n" SERVICE("only_from = 1.2.3.4\n"),
		HEAD "    only_from = {\"1.2.3.4\"}\n" EXEC("") "    }\n}\n", "");
	check_xinetd("defaults\n{\nonly_from = 10.0.0.0\n}\n" SERVICE("only_from =\n"),
		HEAD "    only_from = {}\n" EXEC("") "    }\n}\n", "");
}

static void test_defaults_behind_a_service_hold_too(void **state)
{
	(void)state;
	check_xinetd(SERVICE("") "defaults\n{\nonly_from = 10.0.0.0\n}\n",
		HEAD "    only_from = {\"10.0.0.0\"}\n" EXEC("") "    }\n}\n", "");
}

static void test_what_is_taken_away_must_be_there(void **state)
{
	(void)state;
	check_xinetd(SERVICE("only_from = 1.1.1.1\nonly_from -= 2.2.2.2\n"),
		HEAD "    only_from = {\"1.1.1.1\"}\n" EXEC("") "    }\n}\n",
		"f:8: only_from has no '2.2.2.2' that could be taken away\n");
}

static void test_disabled_services(void **state)
{
	static const struct {
		const char *defaults, *line;
		bool is_disabled;
	} cases[] = {
		{"disabled = x s", "", true},
		{"disabled = x", "", false},
		{"enabled = x", "", true},
		{"enabled = x s", "", false},
		{"enabled = s", "disable = yes\n", true},
		{"enabled = i", "id = i\n", false},
		{"disabled = s", "id = i\n", false},
		{"enabled = s\ndisabled = s", "", true},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		struct translation translation = {0};
		char *text;

		assert_true(asprintf(&text, "defaults\n{\n%s\n}\nservice s\n{\n" NEEDED "%s}\n",
				    cases[i].defaults, cases[i].line) > 0);
		xinetd_conf_translate(&translation, "f", text, &translations_facts);
		assert_int_equal(translation.n_services, 1);
		assert_int_equal(translation.services[0]->is_disabled, cases[i].is_disabled);
		assert_int_equal(translation_find(translation.services[0], NULL, "disable") != NULL,
			cases[i].is_disabled);
		translation_done(&translation);
		free(text);
	}
}

static void test_warnings_of_disabled_services_can_wait(void **state)
{
	struct translation translation = {0};

	(void)state;
	xinetd_conf_translate(&translation, "f",
		SERVICE("libwrap = x\n") "service t\n{\ndisable = yes\nlibwrap = x\n" NEEDED "}\n",
		&translations_facts);
	assert_int_equal(translation.n_warnings, 2);
	assert_false(translation.warnings[0].is_idle);
	assert_true(translation.warnings[1].is_idle);
	translation_done(&translation);
}

/* One of many that is told for all of them, with the line that says it. */
static void test_warning_for_all_does_not_wait_with_the_first(void **state)
{
	struct translation translation = {0};

	(void)state;
	xinetd_conf_translate(&translation, "f",
		"defaults\n{\nlog_on_success = TRAFFIC\n}\n" SERVICE(
			"disable = yes\nlog_on_success += PID\nlog_on_failure = USERID\n")
			SERVICE("id = t\n"),
		&translations_facts);
	assert_int_equal(translation.n_warnings, 2);
	assert_non_null(strstr(translation.warnings[0].sentence, "TRAFFIC"));
	assert_int_equal(translation.warnings[0].place.line, 3);
	assert_false(translation.warnings[0].is_idle);
	assert_non_null(strstr(translation.warnings[1].sentence, "USERID"));
	assert_true(translation.warnings[1].is_idle);
	translation_done(&translation);
}

static void test_internal_services(void **state)
{
	(void)state;
	check_xinetd("service echo\n{\ntype = INTERNAL\nid = echo-stream\nsocket_type = stream\n"
		     "wait = no\nuser = root\n}\n"
		     "service echo\n{\ntype = INTERNAL UNLISTED\nport = 7\nid = echo-dgram\n"
		     "socket_type = dgram\nwait = yes\n}\n",
		"service echo {\n    listen = {\"tcp:0.0.0.0:echo\", \"udp:0.0.0.0:7\"}\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n",
		"");
	/* What defaults say of connections is no difference between the two. */
	check_xinetd("defaults\n{\ninstances = 50\nper_source = 10\ncps = 0 1\n"
		     "banner_fail = /b\n}\n"
		     "service echo\n{\ntype = INTERNAL\nsocket_type = dgram\nwait = yes\n}\n"
		     "service echo\n{\ntype = INTERNAL\nsocket_type = stream\nwait = no\n"
		     "access_times = 8:00-17:59\n}\n",
		"service echo {\n    listen = {\"udp:0.0.0.0:echo\", \"tcp:0.0.0.0:echo\"}\n"
		"    instances = 50\n    per_source = 10\n"
		"    access_times = {\"08:00-18:00\"}\n    refused_to = \"echo-refused\"\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n\n"
		"service echo-refused {\n    listen = {}\n    exec {\n"
		"        program = \"/bin/cat\"\n        args = {\"/b\"}\n"
		"        user = \"nobody\"\n    }\n}\n",
		"f:8: cps is not carried out for 'echo', which is lent the socket (dgram, or wait = "
		"yes)\n"
		"f:8: banner_fail is not carried out for 'echo', which is lent the socket (dgram, "
		"or wait = yes)\n");
	check_xinetd_refuses("service servers\n{\ntype = INTERNAL UNLISTED\nport = 1\n"
			     "socket_type = stream\nwait = no\n}\n",
		"usherctl status");
	check_xinetd_refuses(
		"service ident\n{\ntype = INTERNAL\nsocket_type = stream\nwait = no\n}\n",
		"no internal service 'ident'");
}

static void test_redirect_is_a_program(void **state)
{
	(void)state;
	check_xinetd("service s\n{\nsocket_type = stream\nwait = no\nuser = u\n"
		     "redirect = 10.0.0.5 80\n}\n",
		HEAD "    exec {\n        program = \"/usr/sbin/usher-redirect\"\n"
		     "        args = {\"--inetd\", \"10.0.0.5\", \"80\"}\n"
		     "        user = \"u\"\n        groups = false\n    }\n}\n",
		"");
}

static void test_sensor_denies(void **state)
{
	(void)state;
	check_xinetd("service s\n{\nflags = SENSOR\nsocket_type = stream\nwait = no\n"
		     "deny_time = 60\n}\n",
		HEAD "    sensor = true\n    deny_time = \"60min\"\n}\n", "");
	check_xinetd("service s\n{\nflags = SENSOR\nsocket_type = stream\nwait = no\n"
		     "deny_time = FOREVER\n}\n",
		HEAD "    sensor = true\n    deny_time = \"forever\"\n}\n", "");
}

static void test_banners(void **state)
{
	(void)state;
	check_xinetd(SERVICE("banner_success = /etc/yes\nbanner_fail = /etc/no\n"),
		HEAD "    refused_to = \"s-refused\"\n" EXEC(
			"") "        banner = \"/etc/yes\"\n    }\n}\n\n"
			    "service s-refused {\n    listen = {}\n    exec {\n"
			    "        program = \"/bin/cat\"\n        args = {\"/etc/no\"}\n"
			    "        user = \"nobody\"\n    }\n}\n",
		"");
	/* banner is for everybody. */
	check_xinetd(SERVICE("banner = /etc/b\n"),
		HEAD "    refused_to = \"s-refused\"\n" EXEC(
			"") "        banner = \"/etc/b\"\n    }\n}\n\n"
			    "service s-refused {\n    listen = {}\n    exec {\n"
			    "        program = \"/bin/cat\"\n        args = {\"/etc/b\"}\n"
			    "        user = \"nobody\"\n    }\n}\n",
		"");
}

static void test_services_behind_tcpmux(void **state)
{
	(void)state;
	check_xinetd("service tcpmux\n{\ntype = INTERNAL\nsocket_type = stream\nwait = no\n}\n"
		     "service s\n{\ntype = TCPMUXPLUS UNLISTED\nid = x\n" NEEDED "}\n",
		"service tcpmux {\n    listen = {\"tcp:0.0.0.0:tcpmux\"}\n    providers {\n"
		"        forward = {\"s\"}\n    }\n}\n\n"
		"service s {\n    listen = {}\n" EXEC("") "    }\n}\n",
		"f:1: services behind tcpmux are reached if usher-tcpmux(8) is started as: "
		"usher-tcpmux +s\n");
}

static void test_rules_of_lent_sockets(void **state)
{
	(void)state;
	check_xinetd("service s\n{\nsocket_type = dgram\nwait = yes\nuser = u\nserver = /p\n"
		     "only_from = 10.0.0.0\nno_access = 10.0.0.1\n}\n",
		"service s {\n    listen = {\"udp:0.0.0.0:s\"}\n    only_from = {\"10.0.0.0\"}\n"
		"    no_access = {\"10.0.0.1\"}\n" EXEC("") "    }\n}\n",
		"");
	check_xinetd("service s\n{\nsocket_type = dgram\nwait = yes\nuser = u\nserver = /p\n"
		     "only_from =\n}\n",
		"service s {\n    listen = {\"udp:0.0.0.0:s\"}\n    only_from = {}\n" EXEC(
			"") "    }\n}\n",
		"");
	check_xinetd("service s\n{\nsocket_type = stream\nwait = yes\nuser = u\nserver = /p\n"
		     "no_access = 10.0.0.0\nflags = INTERCEPT\n}\n",
		HEAD "    no_access = {\"10.0.0.0\"}\n    deliver = \"listener\"\n" EXEC(
			"") "    }\n}\n",
		"");
	check_xinetd_refuses("service s\n{\nsocket_type = dgram\nwait = yes\nuser = u\n"
			     "server = /p\naccess_times = 1:00-2:00\n}\n",
		"cannot be checked");
	check_xinetd_refuses("service s\n{\nsocket_type = stream\nwait = yes\nuser = u\n"
			     "server = /p\naccess_times = 1:00-2:00\nflags = INTERCEPT\n}\n",
		"cannot be checked");
	/* What xinetd does not check either. */
	check_xinetd("service s\n{\nsocket_type = stream\nwait = yes\nuser = u\nserver = /p\n"
		     "no_access = 10.0.0.0\n}\n",
		HEAD "    deliver = \"listener\"\n" EXEC("") "    }\n}\n", "");
	check_xinetd("service s\n{\nsocket_type = dgram\nwait = yes\nuser = u\nserver = /p\n"
		     "only_from = 0.0.0.0\ncps = 1 1\n}\n",
		"service s {\n    listen = {\"udp:0.0.0.0:s\"}\n" EXEC("") "    }\n}\n",
		"f:1: cps is not carried out for 's', which is lent the socket (dgram, or wait = "
		"yes)\n");
	check_xinetd("service s\n{\nsocket_type = dgram\nwait = no\nuser = u\nserver = /p\n"
		     "max_load = 2\nbanner_fail = /b\ninstances = 3\nper_source = 3\n}\n",
		"service s {\n    listen = {\"udp:0.0.0.0:s\"}\n" EXEC("") "    }\n}\n",
		NOT_LENT("max_load") NOT_LENT("banner_fail") NOT_LENT("instances")
			NOT_LENT("per_source"));
}

static void test_what_is_not_carried_out_is_told(void **state)
{
	static const struct {
		const char *line, *warning;
	} cases[] = {
		{"libwrap = x", "f:7: libwrap is not carried out: run the program by tcpd(8), or "
				"use only_from\n"},
		{"mdns = yes", "f:7: mdns is not carried out: announce the service by "
			       "avahi-daemon(8)\n"},
		{"rpc_version = 2", "f:7: rpc_version is not carried out, because the service is "
				    "not of type RPC: take it away\n"},
		{"wait = no", "f:7: wait is given a second time, which is ignored: the first "
			      "counts\n"},
		{"nonsense = 1", "f:7: unknown attribute 'nonsense', which is ignored, as xinetd "
				 "does\n"},
		{"enabled = s", "f:7: enabled belongs into defaults, and is ignored\n"},
		{"nice += 1", "f:7: nice has '+=' or '-=', which is ignored, expected '='\n"},
		{"nice = 1 2", "f:7: nice has 2 values, which are ignored, expected 1\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char *text;

		assert_true(asprintf(&text, "service s\n{\n" NEEDED "%s\n}\n", cases[i].line) > 0);
		check_xinetd(text, HEAD EXEC("") "    }\n}\n", cases[i].warning);
		free(text);
	}
	check_xinetd(SERVICE("log_on_success = USERID\nlog_on_failure = USERID\n"),
		HEAD "    log_on_success = {}\n    log_on_failure = {\"reason\"}\n" EXEC(
			"") "    }\n}\n",
		"f:7: USERID is not carried out, here and elsewhere: usher asks no client's host "
		"who he is (RFC 1413); take it away\n");
	/* Once, though it is in both services. */
	check_xinetd("defaults\n{\nlog_on_success = TRAFFIC PID\n}\n" SERVICE("")
			     SERVICE("disable = yes\nid = t\n"),
		HEAD "    log_on_success = {\"pid\"}\n" EXEC(
			"") "    }\n}\n\nservice t {\n    disable = true\n    listen = "
			    "{\"tcp:0.0.0.0:s\"}\n    log_on_success = {\"pid\"}\n" EXEC(
				    "") "    }\n}\n",
		"f:3: TRAFFIC is not logged, here and elsewhere: usher never sees what a program "
		"and its client say; take it away, and let the program count, or instead of "
		"redirect run usher-redirect(8) --log as a service\n");
}

static void test_host_rules_are_told_once(void **state)
{
	struct translation translation = {0};

	(void)state;
	translations_facts.has_host_rules = true;
	xinetd_conf_translate(&translation, "f",
		SERVICE("flags = NOLIBWRAP\n") SERVICE("id = t\n") SERVICE("id = u\n"),
		&translations_facts);
	assert_int_equal(translation.n_warnings, 1);
	assert_non_null(strstr(translation.warnings[0].sentence, "/etc/hosts.deny"));
	assert_int_equal(translation.warnings[0].place.line, 9);
	translation_done(&translation);
	translations_facts.has_host_rules = false;
}

/* A service that could let somebody in who was kept out, or that cannot run, is left out. */
static void test_what_is_wrong_costs_its_service(void **state)
{
	static const struct {
		const char *line, *part;
	} cases[] = {
		{"type = RPC", "rpcbind"},
		{"type = SPECIAL", "SPECIAL"},
		{"type = NONE", "xinetd.conf(5) does not know"},
		{"flags = IDONLY", "RFC 1413"},
		{"flags = LABELED", "SELinuxContextFromNet"},
		{"flags = NONE", "xinetd.conf(5) does not know"},
		{"flags = IPv4 IPv6", "a section for each"},
		{"flags = NAMEINARGS", "expected a name in server_args"},
		{"flags = SENSOR", "denies nobody"},
		{"flags = SENSOR\ndeny_time = NEVER", "denies nobody"},
		{"flags = SENSOR\ndeny_time = 5x", "denies nobody"},
		{"type = UNLISTED", "expected a port"},
		{"type = TCPMUX\nprotocol = udp", "expected tcp"},
		{"protocol = udp", "expected tcp for socket_type = stream"},
		{"disable = perhaps", "expected yes or no"},
		{"groups = 1", "expected yes or no"},
		{"access_times = 9:00-8:00", "access_times has '9:00-8:00'"},
		{"access_times = 9-10", "access_times has '9-10'"},
		{"access_times = 24:00-24:01", "access_times has"},
		{"access_times = 9:00-10:60", "access_times has"},
		{"access_times =", "access_times has no values"},
		{"log_type = NOWHERE", "log_type is unclear"},
		{"log_type =", "log_type is unclear"},
		{"log_on_success = ALL", "log_on_success has 'ALL'"},
		{"log_on_failure = PID", "log_on_failure has 'PID'"},
		{"env -= A=1", "env has no '-='"},
		{"nice=1", "there is no operator"},
		{"nice := 1", "there is no operator"},
		{"nice", "there is no operator"},
		{"env = A=\x01", "control character"},
		{"env = A=\xff", "not UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char *text;

		assert_true(asprintf(&text, "service s\n{\n" NEEDED "%s\n}\n", cases[i].line) > 0);
		check_xinetd_refuses(text, cases[i].part);
		free(text);
	}
}

static void test_needed_attributes(void **state)
{
	(void)state;
	check_xinetd_refuses("service s\n{\nwait = no\nuser = u\nserver = /p\n}\n", "socket_type");
	check_xinetd_refuses(
		"service s\n{\nsocket_type = stream\nuser = u\nserver = /p\n}\n", "no wait");
	check_xinetd_refuses(
		"service s\n{\nsocket_type = stream\nwait = no\nserver = /p\n}\n", "no user");
	check_xinetd_refuses(
		"service s\n{\nsocket_type = stream\nwait = no\nuser = u\n}\n", "server is ''");
	check_xinetd_refuses("service s\n{\nsocket_type = stream\nwait = no\nuser = u\n"
			     "server = p\n}\n",
		"server is 'p'");
	check_xinetd_refuses(
		"service s\n{\nsocket_type = raw\nwait = no\nuser = u\nserver = /p\n}\n",
		"socket_type is 'raw'");
	check_xinetd_refuses("service s\n{\nsocket_type = dgram\nwait = yes\nuser = u\n"
			     "redirect = a 1\n}\n",
		"redirect is for connections");
}

static void test_broken_sections(void **state)
{
	(void)state;
	check_xinetd("service a\nnice = 1\n}\nfoo bar\n}\n" SERVICE(""), HEAD EXEC("") "    }\n}\n",
		"f:2: there is no '{' on a line of its own; the section is left out\n"
		"f:4: 'foo' is unclear, expected service NAME, defaults, include FILE or "
		"includedir FOLDER; all up to the next '}' is left out\n");
	check_xinetd_refuses("service s\n{\n" NEEDED, "no '}'");
	check_xinetd_refuses("service\n{\n}\n", "'service' is unclear");
	check_xinetd_refuses("defaults\n{\n}\ndefaults\n{\n}\n", "a second time");
}

static void test_first_of_two_on_one_address_counts(void **state)
{
	(void)state;
	check_xinetd(SERVICE("") SERVICE("id = t\nnice = 1\n"), HEAD EXEC("") "    }\n}\n",
		"f:8: 't' is left out on tcp:0.0.0.0:s, which 's' at f:1 has\n");
}

static void test_comments(void **state)
{
	(void)state;
	check_xinetd("# default: off\n\n\t# b\nservice s\n{\n# c\n" NEEDED "}\n# end\n",
		"# default: off\n\n# b\n# c\n" HEAD EXEC("") "    }\n}\n\n# end\n", "");
}

static void test_includes(void **state)
{
	static const char *const files[] = {"/d/.x", "nonsense\n}\n", "/d/a",
		SERVICE("id = a\nport "
			"= 1\n"),
		"/d/b.rpmsave", "nonsense\n}\n", "/d/b~", "nonsense\n}\n", "/d/c",
		SERVICE("id = c\nport = 2\n"), NULL};

	(void)state;
	translations_files = files;
	check_xinetd_folder("/d",
		"service a {\n    listen = {\"tcp:0.0.0.0:1\"}\n" EXEC(
			"") "    }\n}\n\n"
			    "service c {\n    listen = {\"tcp:0.0.0.0:2\"}\n" EXEC("") "    }\n}\n",
		"");
	check_xinetd("include /d/a\nincludedir /d\nincludedir /none\ninclude /none\n",
		"service a {\n    listen = {\"tcp:0.0.0.0:1\"}\n" EXEC(
			"") "    }\n}\n\n"
			    "service c {\n    listen = {\"tcp:0.0.0.0:2\"}\n" EXEC("") "    }\n}\n",
		"f:3: the folder '/none' cannot be read: No such file or directory\n"
		"f:4: '/none' is left out: it is not there\n"
		"/d/a:1: 'a' is left out on tcp:0.0.0.0:1, which 'a' at /d/a:1 has\n");
	translations_files = NULL;
}

static void test_file_that_includes_itself_is_found_out_soon(void **state)
{
	static const char *const files[] = {"/e", "include /e\n", NULL};
	struct translation translation = {0};

	(void)state;
	translations_files = files;
	xinetd_conf_translate(&translation, "/e", files[1], &translations_facts);
	assert_int_equal(translation.n_files, 17);
	assert_int_equal(translation.n_warnings, 1);
	assert_non_null(strstr(translation.warnings[0].sentence, "too many files include each "
								 "other"));
	translation_done(&translation);
	translations_files = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_attributes_of_the_service),
		check_test(test_attributes_of_the_program),
		check_test(test_addresses),
		check_test(test_wait_lends),
		check_test(test_defaults_are_where_services_begin),
		check_test(test_service_sets_instead_of_adding),
		check_test(test_defaults_behind_a_service_hold_too),
		check_test(test_what_is_taken_away_must_be_there),
		check_test(test_disabled_services),
		check_test(test_warnings_of_disabled_services_can_wait),
		check_test(test_warning_for_all_does_not_wait_with_the_first),
		check_test(test_internal_services),
		check_test(test_redirect_is_a_program),
		check_test(test_sensor_denies),
		check_test(test_banners),
		check_test(test_services_behind_tcpmux),
		check_test(test_rules_of_lent_sockets),
		check_test(test_what_is_not_carried_out_is_told),
		check_test(test_host_rules_are_told_once),
		check_test(test_what_is_wrong_costs_its_service),
		check_test(test_needed_attributes),
		check_test(test_broken_sections),
		check_test(test_first_of_two_on_one_address_counts),
		check_test(test_comments),
		check_test(test_includes),
		check_test(test_file_that_includes_itself_is_found_out_soon),
	};

	translations_facts.has_ipv6 = false; /* one address, but in test_addresses() */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
