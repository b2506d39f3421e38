/* SPDX-License-Identifier: MIT */
/* inetd.conf as usher.conf: the forms that packages and people write, and those that are wrong. */
#include "translations.h"

#include "compat/inetd-conf.h"
#include "test.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define FINGER		  "/usr/sbin/in.fingerd"

/* A line for a program that listens there, and what becomes of it. */
static void check_fields(const char *before_user, const char *expected)
{
	char *line, *conf;

	assert_true(asprintf(&line, "%s nobody /p p\n", before_user) > 0);
	assert_true(asprintf(&conf,
			    "service s {\n%s    exec {\n        program = \"/p\"\n"
			    "        user = \"nobody\"\n    }\n}\n",
			    expected) > 0);
	check_inetd(line, conf, "");
	free(line);
	free(conf);
}

static void test_line_is_a_service(void **state)
{
	(void)state;
	check_inetd("finger stream tcp4 nowait nobody " FINGER " in.fingerd -l -w\n",
		"service finger {\n"
		"    listen = {\"tcp:0.0.0.0:finger\"}\n"
		"    exec {\n"
		"        program = \"" FINGER "\"\n"
		"        args = {\"-l\", \"-w\"}\n"
		"        user = \"nobody\"\n"
		"    }\n"
		"}\n",
		"");
}

static void test_addresses_of_protocols(void **state)
{
	static const struct {
		const char *fields, *expected;
	} cases[] = {
		{"s stream tcp4 nowait", "    listen = {\"tcp:0.0.0.0:s\"}\n"},
		{"s stream tcp46 nowait", "    listen = {\"tcp:s\"}\n"},
		{"s dgram udp4 wait", "    listen = {\"udp:0.0.0.0:s\"}\n"},
		{"s dgram udp46 wait", "    listen = {\"udp:s\"}\n"},
		{"s stream tcp nowait", "    listen = {\"tcp:0.0.0.0:s\", \"tcp:[::]:s\"}\n"
					"    socket {\n        v6only = true\n    }\n"},
		{"s stream tcp6 nowait", "    listen = {\"tcp:[::]:s\"}\n"
					 "    socket {\n        v6only = true\n    }\n"},
		{"s dgram udp6only wait", "    listen = {\"udp:[::]:s\"}\n"
					  "    socket {\n        v6only = true\n    }\n"},
		{"127.0.0.1:s stream tcp nowait", "    listen = {\"tcp:127.0.0.1:s\"}\n"},
		{"[::1]:s stream tcp nowait", "    listen = {\"tcp:[::1]:s\"}\n"},
		{"::1:s stream tcp6 nowait", "    listen = {\"tcp:[::1]:s\"}\n"},
		{"gate,10.0.0.1:s stream tcp nowait",
			"    listen = {\"tcp:gate:s\", \"tcp:10.0.0.1:s\"}\n"},
		{"gate:s stream tcp4 nowait", "    listen = {\"tcp4:gate:s\"}\n"},
		{"gate:s dgram udp6 wait", "    listen = {\"udp6:gate:s\"}\n"},
		{"gate:s stream tcp46 nowait", "    listen = {\"tcp:gate:s\"}\n"},
		{"/run/s stream unix nowait", "    listen = {\"unix:/run/s\"}\n"},
		{"/run/s dgram unix wait", "    listen = {\"unix-dgram:/run/s\"}\n"},
		{"/run/s seqpacket unix nowait", "    listen = {\"unix-seqpacket:/run/s\"}\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_fields(cases[i].fields, cases[i].expected);
}

static void test_without_ipv6_tcp_is_ipv4(void **state)
{
	(void)state;
	translations_facts.has_ipv6 = false;
	check_fields("s stream tcp nowait", "    listen = {\"tcp:0.0.0.0:s\"}\n");
	check_fields("gate:s stream tcp nowait", "    listen = {\"tcp4:gate:s\"}\n");
	translations_facts.has_ipv6 = true;
}

static void test_wait_lends_and_limits_count(void **state)
{
	static const struct {
		const char *fields, *expected;
	} cases[] = {
		{"s stream tcp4 wait",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    deliver = \"listener\"\n"},
		{"s stream tcp4 wait/1",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    deliver = \"listener\"\n"},
		{"s stream tcp4 nowait.60",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    rate = {60, \"1min\"}\n"},
		{"s stream tcp4 nowait:60",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    rate = {60, \"1min\"}\n"},
		{"s stream tcp4 nowait.0", "    listen = {\"tcp:0.0.0.0:s\"}\n"},
		{"s stream tcp4 nowait/10",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    instances = 10\n"},
		{"s stream tcp4 nowait/0/20/3", "    listen = {\"tcp:0.0.0.0:s\"}\n"
						"    per_source_rate = {20, \"1min\"}\n"
						"    per_source = 3\n"},
		{"s stream,7 tcp4 nowait", "    listen = {\"tcp:0.0.0.0:s\"}\n    instances = 7\n"},
		{"s stream tcp4,rcvbuf=64k,sndbuf=1m nowait",
			"    listen = {\"tcp:0.0.0.0:s\"}\n    socket {\n"
			"        receive_buffer = 65536\n        send_buffer = 1048576\n    }\n"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_fields(cases[i].fields, cases[i].expected);
}

/* The fields from the user on. */
static void check_program(const char *fields, const char *expected, const char *warnings)
{
	char *line, *conf;

	assert_true(asprintf(&line, "s stream tcp4 nowait %s\n", fields) > 0);
	assert_true(asprintf(&conf,
			    "service s {\n    listen = {\"tcp:0.0.0.0:s\"}\n    exec {\n%s"
			    "    }\n}\n",
			    expected) > 0);
	check_inetd(line, conf, warnings);
	free(line);
	free(conf);
}

static void test_users_and_groups(void **state)
{
	(void)state;
	check_program("a:b /p p",
		"        program = \"/p\"\n        user = \"a\"\n        group = \"b\"\n", "");
	check_program("a.b /p p",
		"        program = \"/p\"\n        user = \"a\"\n        group = \"b\"\n", "");
	check_program("a.c:b /p p",
		"        program = \"/p\"\n        user = \"a.c\"\n        group = \"b\"\n", "");
	check_program("a:b/staff /p p",
		"        program = \"/p\"\n        user = \"a\"\n        group = \"b\"\n",
		"f:1: there are no login classes on Linux: instead of 'staff' use rlimit of "
		"usher.conf(5), section exec\n");
}

static void test_name_and_arguments(void **state)
{
	(void)state;
	check_program("a /usr/sbin/tcpd /usr/sbin/in.telnetd -h",
		"        program = \"/usr/sbin/tcpd\"\n"
		"        name = \"/usr/sbin/in.telnetd\"\n"
		"        args = {\"-h\"}\n        user = \"a\"\n",
		"");
	check_program("a /p", "        program = \"/p\"\n        user = \"a\"\n", "");
	check_program("a /p p 'one two' \"it's\" x\"y z\"w '' don't #1",
		"        program = \"/p\"\n"
		"        args = {\"one two\", \"it's\", \"xy zw\", \"\", \"don't\", \"#1\"}\n"
		"        user = \"a\"\n",
		"");
	check_program("a /p p C:\\dir",
		"        program = \"/p\"\n        args = {\"C:\\\\dir\"}\n"
		"        user = \"a\"\n",
		"");
}

static void test_all_of_many_arguments_are_passed(void **state)
{
	struct translation translation = {0};
	char line[4096] = "s stream tcp nowait root /p p";
	const struct translation_assignment *args;

	(void)state;
	for (int i = 0; i < 100; i++)
		snprintf(line + strlen(line), 16, " %d", i);
	inetd_conf_translate(&translation, "f", line, &translations_facts);
	assert_int_equal(translation.n_services, 1);
	args = translation_find(translation.services[0], "exec", "args");
	assert_int_equal(args->n_texts, 100);
	assert_string_equal(args->texts[99], "99");
	translation_done(&translation);
}

static void test_line_that_begins_with_a_blank_continues(void **state)
{
	(void)state;
	check_inetd("s stream tcp4\n\tnowait a\n  /p p\n\nt stream tcp4 nowait a /p p\n",
		"service s {\n    listen = {\"tcp:0.0.0.0:s\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n\n"
		"service t {\n    listen = {\"tcp:0.0.0.0:t\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n",
		"");
	/* Lines count on behind it. */
	check_inetd("s stream tcp4\n\tnowait a\n  p p\nx\n",
		"# left out: s stream tcp4  nowait a   p p\n\n# left out: x\n\n",
		"f:1: the program 'p' is no absolute path, expected one, or internal; the line is "
		"left out\n"
		"f:4: there are 1 fields, expected service, type, protocol, wait or nowait, user "
		"and program; the line is left out\n");
}

static void test_default_host(void **state)
{
	struct translation translation = {0};
	static const char *const expected[] = {
		"tcp:0.0.0.0:a", "tcp:10.0.0.1:b", "tcp:10.0.0.2:c", "unix:/d", "tcp:0.0.0.0:e"};

	(void)state;
	inetd_conf_translate(&translation, "f",
		"a stream tcp4 nowait x /p p\n10.0.0.1:\nb stream tcp nowait x /p p\n"
		"10.0.0.2:c stream tcp nowait x /p p\n/d stream unix nowait x /p p\n*:\n"
		"e stream tcp4 nowait x /p p\n",
		&translations_facts);
	assert_int_equal(translation.n_services, N_ELEMENTS(expected));
	for (size_t i = 0; i < N_ELEMENTS(expected); i++)
		assert_string_equal(
			translation_find(translation.services[i], NULL, "listen")->texts[0],
			expected[i]);
	translation_done(&translation);
}

static void test_internal_services_are_merged(void **state)
{
	(void)state;
	check_inetd("echo stream tcp4 nowait root internal\necho dgram udp4 wait root internal\n",
		"service echo {\n    listen = {\"tcp:0.0.0.0:echo\", \"udp:0.0.0.0:echo\"}\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n",
		"");
	/* Limits are those of the connections, whichever stands first. */
	check_inetd("echo stream tcp4 nowait/5 root internal\necho dgram udp4 wait root internal\n",
		"service echo {\n    listen = {\"tcp:0.0.0.0:echo\", \"udp:0.0.0.0:echo\"}\n"
		"    instances = 5\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n",
		"");
	check_inetd("echo dgram udp4 wait root internal\necho stream tcp4 nowait/5 root internal\n",
		"service echo {\n    listen = {\"udp:0.0.0.0:echo\", \"tcp:0.0.0.0:echo\"}\n"
		"    instances = 5\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n",
		"");
	/* One that is limited otherwise has nobody who would serve it under another name. */
	check_inetd("echo stream tcp4 nowait/5 root internal\necho stream tcp6 nowait root "
		    "internal\necho dgram udp4 wait root internal\n",
		"service echo {\n    listen = {\"tcp:0.0.0.0:echo\", \"udp:0.0.0.0:echo\"}\n"
		"    instances = 5\n"
		"    providers {\n        users = {\"usher-basic\"}\n    }\n}\n",
		"f:2: 'echo' (tcp6) is left out: usher has one service of this name, which f:1 is; "
		"give both the same limits and rules\n");
}

static void test_lines_that_are_alike_are_one_service(void **state)
{
	(void)state;
	check_inetd("# one\ns stream tcp4 nowait a /p p\n# two\ns stream tcp6 nowait a /p p\n",
		"# one\n# two\nservice s {\n    listen = {\"tcp:0.0.0.0:s\", \"tcp:[::]:s\"}\n"
		"    socket {\n        v6only = true\n    }\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n",
		"");
}

static void test_other_service_of_the_name_gets_its_own(void **state)
{
	(void)state;
	check_inetd("s stream tcp4 nowait a /p p\ns dgram udp4 wait a /q q\n"
		    "1.2.3.4:s dgram udp4 wait a /r r\n5.6.7.8:s dgram udp4 wait a /q q\n",
		"service s {\n    listen = {\"tcp:0.0.0.0:s\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n\n"
		"service s-udp4 {\n    listen = {\"udp:0.0.0.0:s\", \"udp:5.6.7.8:s\"}\n"
		"    exec {\n        program = \"/q\"\n        user = \"a\"\n    }\n}\n\n"
		"service s-udp4-2 {\n    listen = {\"udp:1.2.3.4:s\"}\n    exec {\n"
		"        program = \"/r\"\n        user = \"a\"\n    }\n}\n",
		"");
}

static void test_later_line_replaces_an_earlier_one(void **state)
{
	(void)state;
	check_inetd("79 stream tcp4 nowait a /p p\nfinger stream tcp4 nowait a /q q\n",
		"service finger {\n    listen = {\"tcp:0.0.0.0:finger\"}\n    exec {\n"
		"        program = \"/q\"\n        user = \"a\"\n    }\n}\n",
		"f:1: '79' is left out on tcp:0.0.0.0:79, which 'finger' at f:2 has\n");
}

static void test_names_are_such_as_usher_takes(void **state)
{
	(void)state;
	check_inetd("/run/.s stream unix nowait a /p p\n/x/control stream unix nowait a /p p\n",
		"service _s {\n    listen = {\"unix:/run/.s\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n\n"
		"service contro_ {\n    listen = {\"unix:/x/control\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n",
		"");
}

static void test_services_behind_tcpmux(void **state)
{
	(void)state;
	check_inetd("tcpmux stream tcp4 nowait root internal\n"
		    "tcpmux/+date stream tcp nowait a /bin/date date\n"
		    "tcpmux/book stream tcp nowait a /book book\n",
		"service tcpmux {\n    listen = {\"tcp:0.0.0.0:tcpmux\"}\n    providers {\n"
		"        forward = {\"date\", \"book\"}\n    }\n}\n\n"
		"service date {\n    listen = {}\n    exec {\n        program = \"/bin/date\"\n"
		"        user = \"a\"\n    }\n}\n\n"
		"service book {\n    listen = {}\n    exec {\n        program = \"/book\"\n"
		"        user = \"a\"\n    }\n}\n",
		"f:1: services behind tcpmux are reached if usher-tcpmux(8) is started as: "
		"usher-tcpmux +date book\n");
	check_inetd_refuses("tcpmux/+date stream tcp nowait a /bin/date date\n",
		"'date' is left out, because there is no service tcpmux");
}

static void test_comments_stay_where_they_were(void **state)
{
	(void)state;
	check_inetd("# head\n\n#:GROUP:\ns stream tcp4 nowait a /p p\n"
		    "#<off># t\tstream tcp nowait root /q q\n# end\x01\n",
		"# head\n\n#:GROUP:\nservice s {\n    listen = {\"tcp:0.0.0.0:s\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n\n"
		"#<off># t\tstream tcp nowait root /q q\n# end?\n",
		"");
}

static void test_ipsec_policy_is_told(void **state)
{
	(void)state;
	check_inetd("#@ in ipsec ah/require\n", "#@ in ipsec ah/require\n",
		"f:1: the IPsec policy is not set: set it with ip-xfrm(8) or its like\n");
}

static void test_what_is_wrong_costs_its_line(void **state)
{
	static const struct {
		const char *line, *part;
	} cases[] = {
		{"walld/1 dgram rpc/udp wait root /p p", "rpcbind"},
		{"walld/1 dgram rpc/udp", "rpcbind"},
		{"telnet stream faith/tcp6 nowait root /p p", "faith"},
		{"s raw tcp nowait root /p p", "the socket type of tcp is 'raw'"},
		{"s rdm udp wait root /p p", "the socket type of udp is 'rdm'"},
		{"s dgram tcp wait root /p p", "expected stream"},
		{"s stream sctp nowait root /p p", "unknown protocol 'sctp'"},
		{"s stream unix nowait root /p p", "no absolute path"},
		{"s stream tcp maybe root /p p", "expected wait or nowait"},
		{"s stream tcp nowait.x root /p p", "a minute"},
		{"s stream tcp nowait.9999999999 root /p p", "a minute"},
		{"s stream tcp nowait/1/2/3/4 root /p p", "is no limit"},
		{"s stream tcp nowait/-1 root /p p", "is no limit"},
		{"s stream,x tcp nowait root /p p", "is no limit"},
		{"s stream tcp,rcvbuf=0 nowait root /p p", "rcvbuf is '0'"},
		{"s stream tcp,rcvbuf=9g nowait root /p p", "rcvbuf is '9g'"},
		{"s stream tcp,rcvbuf nowait root /p p", "unknown size"},
		{"s stream tcp,x=1 nowait root /p p", "unknown size"},
		{"s stream tcp nowait root p p", "no absolute path"},
		{"s stream tcp nowait :g /p p", "there is no user"},
		{"s stream tcp nowait u: /p p", "there is no user"},
		{"ident stream tcp nowait root internal", "no internal service 'ident'"},
		{"7 stream tcp nowait root internal", "no internal service '7'"},
		{"127.0.0.1:s stream tcp6 nowait root /p p", "no address of tcp6"},
		{"[::1]:s stream tcp4 nowait root /p p", "no address of tcp4"},
		{"h: stream tcp nowait root /p p", "there is no service"},
		{"tcpmux/+ stream tcp nowait root /p p", "there is no service"},
		{"tcpmux/x dgram udp wait root /p p", "expected stream and tcp"},
		{"tcpmux/x stream tcp wait root /p p", "expected nowait"},
		{"tcpmux/x stream tcp nowait root internal", "no internal service"},
		{".include \"x\"", "directives of NetBSD"},
		{"s on socktype=stream, wait=no;", "key-values"},
		{"s stream tcp nowait root", "there are 5 fields"},
		{"s stream tcp nowait root /p \x07", "control character"},
		{"s stream tcp nowait root /p \xff", "not UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		check_inetd_refuses(cases[i].line, cases[i].part);
}

static void test_limits_of_lent_sockets_are_told(void **state)
{
	(void)state;
	check_inetd("s dgram udp4 wait.40 a /p p\n",
		"service s {\n    listen = {\"udp:0.0.0.0:s\"}\n    exec {\n"
		"        program = \"/p\"\n        user = \"a\"\n    }\n}\n",
		"f:1: the limit '40' is not carried out: who is lent the socket (wait) accepts by "
		"himself; use limits of the program\n");
}

static void test_too_many_hosts_and_services(void **state)
{
	struct translation translation = {0};
	char *text = NULL, hosts[1024] = "";
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	for (int i = 0; i < TRANSLATION_MAX_SERVICES + 5; i++)
		fprintf(stream, "%d stream tcp4 nowait a /p p\n", i);
	assert_int_equal(fclose(stream), 0);
	inetd_conf_translate(&translation, "f", text, &translations_facts);
	assert_int_equal(translation.n_services, TRANSLATION_MAX_SERVICES);
	assert_int_equal(translation.n_warnings, 5);
	translation_done(&translation);
	free(text);
	for (int i = 0; i < 65; i++)
		strcat(hosts, "1.2.3.4,");
	assert_true(asprintf(&text, "%s5.6.7.8:s stream tcp nowait a /p p\n", hosts) > 0);
	check_inetd_refuses(text, "more than 64 hosts");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_line_is_a_service),
		check_test(test_addresses_of_protocols),
		check_test(test_without_ipv6_tcp_is_ipv4),
		check_test(test_wait_lends_and_limits_count),
		check_test(test_users_and_groups),
		check_test(test_name_and_arguments),
		check_test(test_all_of_many_arguments_are_passed),
		check_test(test_line_that_begins_with_a_blank_continues),
		check_test(test_default_host),
		check_test(test_internal_services_are_merged),
		check_test(test_lines_that_are_alike_are_one_service),
		check_test(test_other_service_of_the_name_gets_its_own),
		check_test(test_later_line_replaces_an_earlier_one),
		check_test(test_names_are_such_as_usher_takes),
		check_test(test_services_behind_tcpmux),
		check_test(test_comments_stay_where_they_were),
		check_test(test_ipsec_policy_is_told),
		check_test(test_what_is_wrong_costs_its_line),
		check_test(test_limits_of_lent_sockets_are_told),
		check_test(test_too_many_hosts_and_services),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
