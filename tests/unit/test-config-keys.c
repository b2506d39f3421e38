/* SPDX-License-Identifier: MIT */
/*
 * What the options of admission, logging, programs and receivers mean, what of the defaults a
 * service gets, and each message of a wrong value.
 */
#include "config-files.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <syslog.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#define SERVICE(option)	  "service a {\nlisten = \"tcp:80\"\n" option "\n}\n"

#define SECOND		  UINT64_C(1000000)

static void test_initial_values(void **state)
{
	struct config *config = load_text(SERVICE(""));
	const struct config_service *a = config->services[0];

	(void)state;
	assert_int_equal(a->deliver, CONFIG_DELIVER_CONNECTION);
	assert_int_equal(a->admission.n_rules, 0);
	assert_false(a->admission.has_only_from);
	assert_int_equal(a->admission.n_hours, 0);
	assert_int_equal(a->admission.cps.count, 0);
	assert_int_equal(a->admission.rate.count, 0);
	assert_int_equal(a->admission.per_source_rate.count, 0);
	assert_int_equal(a->admission.per_source, 0);
	assert_int_equal(a->admission.source_bits_v4, 32);
	assert_int_equal(a->admission.source_bits_v6, 64);
	assert_int_equal(a->admission.max_load_percent, 0);
	assert_false(a->admission.is_sensor);
	assert_int_equal(a->admission.deny_time_usec, 3600 * SECOND);
	assert_null(a->admission.refused_to);
	assert_null(a->pass.path);
	assert_int_equal(a->pass.type, SOCK_STREAM);
	assert_false(a->pass.has_postfix_attributes);
	assert_null(a->exec.program);
	assert_true(a->exec.has_groups);
	assert_int_equal(a->exec.umask, UINT32_MAX);
	assert_int_equal(a->exec.nice, 0);
	assert_false(a->exec.no_new_privs);
	assert_int_equal(a->exec.n_rlimits, 0);
	assert_int_equal(a->log.on_success, 0);
	assert_int_equal(a->log.on_failure, CONFIG_LOG_HOST | CONFIG_LOG_REASON);
	assert_int_equal(a->log.address, CONFIG_LOG_ADDRESS_FULL);
	assert_int_equal(a->log.type.type, CONFIG_LOG_TYPE_COMMON);
	assert_false(a->socket.transparent);
	assert_false(a->socket.broadcast);
	assert_int_equal(a->socket.defer_accept_usec, 0);
	assert_int_equal(a->socket.receive_buffer, 0);
	assert_int_equal(a->socket.send_buffer, 0);
	assert_int_equal(a->socket.mode, 0666);
	config_free(config);
}

#define ADMISSION                                                                                  \
	"only_from = {\"10.0.0.0/8\", \"192.0.2.{1,2}\", \"::1\"} no_access = 10.9.0.0/16\n"       \
	"access_times = {\"8:00-18:30\", \"22:00-06:00\", \"00:00-24:00\"}\n"                      \
	"per_source = 32 per_source_prefix = {24, 56} cps = {200, 10} rate = {256, 1min}\n"        \
	"per_source_rate = {10, \"1h\"} max_load = 4.5 deny_time = 2h\n"                           \
	"refused_to = banner\n"

static void check_rule(
	const struct config_rule *rule, bool is_allowed, const char *text, const char *network)
{
	char buffer[NETWORK_TEXT_MAX];

	assert_int_equal(rule->is_allowed, is_allowed);
	assert_string_equal(rule->text, text);
	assert_string_equal(network_format(&rule->network, buffer), network);
	assert_string_equal(rule->place.file, "c.conf");
}

static void check_admission(const struct config_admission *admission)
{
	assert_true(admission->has_only_from);
	assert_int_equal(admission->n_rules, 5);
	check_rule(&admission->rules[0], true, "10.0.0.0/8", "10.0.0.0/8");
	check_rule(&admission->rules[1], true, "192.0.2.{1,2}", "192.0.2.1");
	check_rule(&admission->rules[2], true, "192.0.2.{1,2}", "192.0.2.2");
	check_rule(&admission->rules[3], true, "::1", "::1");
	check_rule(&admission->rules[4], false, "10.9.0.0/16", "10.9.0.0/16");
	assert_int_equal(admission->n_hours, 3);
	assert_int_equal(admission->hours[0].first, 8 * 60);
	assert_int_equal(admission->hours[0].last, 18 * 60 + 30);
	assert_int_equal(admission->hours[1].first, 22 * 60);
	assert_int_equal(admission->hours[1].last, 6 * 60);
	assert_int_equal(admission->hours[2].first, 0);
	assert_int_equal(admission->hours[2].last, 24 * 60);
	assert_int_equal(admission->per_source, 32);
	assert_int_equal(admission->source_bits_v4, 24);
	assert_int_equal(admission->source_bits_v6, 56);
	assert_int_equal(admission->cps.count, 200);
	assert_int_equal(admission->cps.period_usec, SECOND);
	assert_int_equal(admission->cps.pause_usec, 10 * SECOND);
	assert_int_equal(admission->rate.count, 256);
	assert_int_equal(admission->rate.period_usec, 60 * SECOND);
	assert_int_equal(admission->rate.pause_usec, 0);
	assert_int_equal(admission->per_source_rate.count, 10);
	assert_int_equal(admission->per_source_rate.period_usec, 3600 * SECOND);
	assert_int_equal(admission->max_load_percent, 450);
	assert_int_equal(admission->deny_time_usec, 7200 * SECOND);
	assert_string_equal(admission->refused_to, "banner");
	assert_string_equal(admission->refused_to_place.file, "c.conf");
}

static void test_admission(void **state)
{
	struct config *config = load_text(
		SERVICE(ADMISSION "sensor = true") "service banner { listen = {\"tcp:81\"} }\n");

	(void)state;
	check_admission(&config->services[0]->admission);
	assert_int_equal(config->services[0]->admission.rules[0].place.line, 3);
	assert_true(config->services[0]->admission.is_sensor);
	config_free(config);
}

static void test_other_forms_of_admission(void **state)
{
	struct config *config = load_text(
		SERVICE("deny_time = forever cps = {1, \"500ms\"} only_from = {} max_load = 12\n"));
	const struct config_admission *admission = &config->services[0]->admission;

	(void)state;
	assert_int_equal(admission->deny_time_usec, UINT64_MAX);
	assert_int_equal(admission->cps.pause_usec, SECOND / 2);
	assert_true(admission->has_only_from);
	assert_int_equal(admission->n_rules, 0);
	assert_int_equal(admission->max_load_percent, 1200);
	config_free(config);
}

static void test_log(void **state)
{
	struct config *config = load_text(SERVICE(
		"log_on_success = {host, pid, duration, exit, traffic} log_on_failure = {}\n"
		"log_address = prefix log_type = {\"file\", \"/var/log/a\", \"1MiB\", "
		"\"2MiB\"}"));
	const struct config_service_log *log = &config->services[0]->log;

	(void)state;
	assert_int_equal(log->on_success, CONFIG_LOG_HOST | CONFIG_LOG_PID | CONFIG_LOG_DURATION |
						  CONFIG_LOG_EXIT | CONFIG_LOG_TRAFFIC);
	assert_int_equal(log->on_failure, 0);
	assert_int_equal(log->address, CONFIG_LOG_ADDRESS_PREFIX);
	assert_int_equal(log->type.type, CONFIG_LOG_TYPE_FILE);
	assert_string_equal(log->type.path, "/var/log/a");
	assert_int_equal(log->type.soft_bytes, 1 << 20);
	assert_int_equal(log->type.hard_bytes, 2 << 20);
	config_free(config);
}

static void test_log_types(void **state)
{
	static const struct {
		const char *text;
		int facility, level;
	} cases[] = {
		{"{syslog, daemon}", LOG_DAEMON, LOG_INFO},
		{"{\"syslog\", \"local7\", \"err\"}", LOG_LOCAL7, LOG_ERR},
		{"{syslog, authpriv, debug}", LOG_AUTHPRIV, LOG_DEBUG},
		{"{syslog, mail, emerg}", LOG_MAIL, LOG_EMERG},
	};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char text[128];
		struct config *config;

		snprintf(text, sizeof(text), SERVICE("log_type = %s"), cases[i].text);
		config = load_text(text);
		assert_int_equal(config->services[0]->log.type.type, CONFIG_LOG_TYPE_SYSLOG);
		assert_int_equal(config->services[0]->log.type.facility, cases[i].facility);
		assert_int_equal(config->services[0]->log.type.level, cases[i].level);
		config_free(config);
	}
}

#define EXEC                                                                                           \
	"exec { program = /usr/sbin/in.fingerd name = fingerd args = {\"-l\", \"\"} user = nobody\n"   \
	"group = nogroup groups = false env = {\"LANG=C\", \"A=b=c\"} pass_env = {PATH, TZ}\n"         \
	"umask = 022 nice = -5 no_new_privs = true chroot = /srv directory = / banner = /etc/banner\n" \
	"rlimit { as = 256MiB cpu = 60s core = unlimited data = 1 fsize = 1GiB memlock = 64KiB\n"      \
	"nofile = 64 nproc = 0 rss = 4096 stack = 8MiB } }\n"

static void check_exec(const struct config_exec *exec)
{
	static const struct config_rlimit limits[] = {
		{RLIMIT_AS, 256 << 20},
		{RLIMIT_CPU, 60},
		{RLIMIT_CORE, RLIM_INFINITY},
		{RLIMIT_DATA, 1},
		{RLIMIT_FSIZE, 1 << 30},
		{RLIMIT_MEMLOCK, 64 << 10},
		{RLIMIT_NOFILE, 64},
		{RLIMIT_NPROC, 0},
		{RLIMIT_RSS, 4096},
		{RLIMIT_STACK, 8 << 20},
	};

	assert_string_equal(exec->program, "/usr/sbin/in.fingerd");
	assert_string_equal(exec->name, "fingerd");
	assert_int_equal(exec->n_args, 2);
	assert_string_equal(exec->args[0], "-l");
	assert_string_equal(exec->args[1], "");
	assert_int_equal(exec->n_env, 2);
	assert_string_equal(exec->env[1], "A=b=c");
	assert_int_equal(exec->n_pass_env, 2);
	assert_string_equal(exec->pass_env[0], "PATH");
	assert_string_equal(exec->user, "nobody");
	assert_string_equal(exec->group, "nogroup");
	assert_false(exec->has_groups);
	assert_int_equal(exec->umask, 022);
	assert_int_equal(exec->nice, -5);
	assert_true(exec->no_new_privs);
	assert_string_equal(exec->chroot, "/srv");
	assert_string_equal(exec->directory, "/");
	assert_string_equal(exec->banner, "/etc/banner");
	assert_int_equal(exec->n_rlimits, N_ELEMENTS(limits));
	for (size_t i = 0; i < N_ELEMENTS(limits); i++) {
		assert_int_equal(exec->rlimits[i].resource, limits[i].resource);
		assert_int_equal(exec->rlimits[i].value, limits[i].value);
	}
}

static void test_exec(void **state)
{
	struct config *config = load_text(SERVICE(EXEC));

	(void)state;
	check_exec(&config->services[0]->exec);
	config_free(config);
}

static void test_pass(void **state)
{
	struct config *config = load_text(SERVICE(
		"deliver = pass pass { path = /run/smtpd type = stream attributes = postfix }"));
	const struct config_service *a = config->services[0];

	(void)state;
	assert_int_equal(a->deliver, CONFIG_DELIVER_PASS);
	assert_string_equal(a->pass.path, "/run/smtpd");
	assert_int_equal(a->pass.type, SOCK_STREAM);
	assert_true(a->pass.has_postfix_attributes);
	config_free(config);
}

static void test_socket(void **state)
{
	struct config *config = load_text(
		"service a { listen = {\"tcp:80\", \"udp:80\", \"unix:/a\"} socket {\n"
		"transparent = true broadcast = true defer_accept = 5s receive_buffer = 64KiB\n"
		"send_buffer = 1MiB mode = 0600 } }\n");
	const struct config_socket *options = &config->services[0]->socket;

	(void)state;
	assert_true(options->transparent);
	assert_true(options->broadcast);
	assert_int_equal(options->defer_accept_usec, 5 * SECOND);
	assert_int_equal(options->receive_buffer, 64 << 10);
	assert_int_equal(options->send_buffer, 1 << 20);
	assert_int_equal(options->mode, 0600);
	config_free(config);
}

static void test_receivers_of_other_types(void **state)
{
	static const struct {
		const char *name;
		int type;
	} cases[] = {{"dgram", SOCK_DGRAM}, {"seqpacket", SOCK_SEQPACKET}};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		char text[128];
		struct config *config;

		snprintf(text, sizeof(text), SERVICE("deliver = pass pass { path = /r type = %s }"),
			cases[i].name);
		config = load_text(text);
		assert_int_equal(config->services[0]->pass.type, cases[i].type);
		config_free(config);
	}
}

/* Every kind of value comes from the defaults, as a copy of its own. */
static void test_defaults_of_every_kind(void **state)
{
	struct config *config =
		load_text("defaults { " ADMISSION EXEC "log_type = {file, /l, 1} }\n"
			  "service a { listen = \"tcp:1\" } service b { listen = \"tcp:2\" }\n"
			  "service banner { listen = \"tcp:3\" only_from = {} cps = {}\n"
			  "exec { args = {} rlimit { as = 1 } } log_type = common }\n");
	const struct config_service *banner = config_find_service(config, "banner");

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		check_admission(&config->services[i]->admission);
		check_exec(&config->services[i]->exec);
		assert_string_equal(config->services[i]->log.type.path, "/l");
	}
	assert_true(banner->admission.has_only_from);
	assert_int_equal(banner->admission.n_rules, 1);
	check_rule(&banner->admission.rules[0], false, "10.9.0.0/16", "10.9.0.0/16");
	assert_int_equal(banner->admission.cps.count, 0);
	assert_int_equal(banner->exec.n_args, 0);
	assert_string_equal(banner->exec.program, "/usr/sbin/in.fingerd");
	assert_int_equal(banner->exec.n_rlimits, 10);
	assert_int_equal(banner->exec.rlimits[0].resource, RLIMIT_AS);
	assert_int_equal(banner->exec.rlimits[0].value, 1);
	assert_null(banner->log.type.path);
	config_free(config);
}

#define NO_RECEIVER                                                                                \
	"c.conf:1: service 'a' has deliver = pass and no receiver, expected pass { path = ... "    \
	"}\n"
#define BAD_IPV4                                                                                   \
	", expected numbers from 0 to 255, as in 192.0.2.1, 192.0.2.0/24 or 192.0.2.{1,2}\n"
#define BAD_TIME  ", expected a beginning and an end that differ, as in 08:00-18:00 or 22:00-06:00\n"
#define RATE_FROM " expected a number from 1 to 1000000\n"
#define DURATION_FROM(least, most)                                                                 \
	" expected a duration from " least " to " most ", as in 5s, 2min or 1h"
#define BAD_VARIABLE ", expected a name of letters, digits and '_', '=' and a value, as in LANG=C\n"
#define BAD_LOG_TYPE                                                                               \
	", expected one of common, {syslog, FACILITY, LEVEL} and {file, PATH, SOFT LIMIT, HARD "   \
	"LIMIT}\n"

static const struct {
	const char *text, *expected;
} errors[] = {
	{"deliver = wait", "deliver is 'wait', expected connection, listener or pass\n"},
	{"only_from = 1.2.3.256", "only_from: bad IPv4 address '1.2.3.256'" BAD_IPV4},
	{"no_access = {::1, 1.2.3.256}", "no_access: bad IPv4 address '1.2.3.256'" BAD_IPV4},
	{"only_from = .example.org",
		"only_from: '.example.org' is a domain, which cannot be decided without asking DNS "
		"for each client, expected its networks, or names of hosts\n"},
	{"access_times = 08:00", "access_times: bad time '08:00'" BAD_TIME},
	{"access_times = 08:00-08:00", "access_times: bad time '08:00-08:00'" BAD_TIME},
	{"access_times = 24:00-08:00", "access_times: bad time '24:00-08:00'" BAD_TIME},
	{"access_times = 08:00-24:01", "access_times: bad time '08:00-24:01'" BAD_TIME},
	{"access_times = 08:60-18:00", "access_times: bad time '08:60-18:00'" BAD_TIME},
	{"access_times = 08:0-18:00", "access_times: bad time '08:0-18:00'" BAD_TIME},
	{"access_times = 008:00-18:00", "access_times: bad time '008:00-18:00'" BAD_TIME},
	{"access_times = 08:00-18:000", "access_times: bad time '08:00-18:000'" BAD_TIME},
	{"access_times = :00-18:00", "access_times: bad time ':00-18:00'" BAD_TIME},
	{"access_times = \"08:00 - 18:00\"", "access_times: bad time '08:00 - 18:00'" BAD_TIME},
	{"per_source = 1048577", "per_source is '1048577', expected a number from 0 to 1048576\n"},
	{"per_source_prefix = {33, 64}",
		"per_source_prefix is '33', expected a number from 1 to 32\n"},
	{"per_source_prefix = {24, 129}",
		"per_source_prefix is '129', expected a number from 1 to 128\n"},
	{"per_source_prefix = {0, 64}",
		"per_source_prefix is '0', expected a number from 1 to 32\n"},
	{"per_source_prefix = 24", "per_source_prefix has 1 value, expected the bits of IPv4 and "
				   "of IPv6, as in {24, 56}\n"},
	{"per_source_prefix = {24, 56, 1}",
		"per_source_prefix has 3 values, expected the bits of IPv4 and of IPv6, as in {24, "
		"56}\n"},
	{"per_source_prefix = {}", "per_source_prefix has 0 values, expected the bits of IPv4 and "
				   "of IPv6, as in {24, 56}\n"},
	{"cps = {0, 10}", "cps is '0'," RATE_FROM},
	{"cps = {1000001, 10}", "cps is '1000001'," RATE_FROM},
	{"cps = 200", "cps has 1 value, expected how many a second, and how long to pause, as in "
		      "{200, 10}\n"},
	{"cps = {1, 2, 3}", "cps has 3 values, expected how many a second, and how long to pause, "
			    "as in {200, 10}\n"},
	{"cps = {1, 86401}",
		"cps is '86401s', expected a duration from 0ms to 24h, as in 500ms, 5s, 2min or 1h\n"},
	{"rate = {1, 60}", "rate is '60', which has no unit," DURATION_FROM("1s", "24h") "\n"},
	{"rate = {1, 999ms}", "rate is '999ms'," DURATION_FROM("1s", "24h") "\n"},
	{"rate = 1",
		"rate has 1 value, expected how many, and in how long, as in {256, \"1min\"}\n"},
	{"per_source_rate = {x, 1s}", "per_source_rate is 'x'," RATE_FROM},
	{"max_load = 10001", "max_load is '10001', expected a load average from 0 to 10000, as in "
			     "4.5\n"},
	{"max_load = .5", "max_load is '.5', expected a load average from 0 to 10000, as in 4.5\n"},
	{"max_load = 1e3", "max_load is '1e3', expected a load average from 0 to 10000, as in "
			   "4.5\n"},
	{"max_load = 99999999999999999999",
		"max_load is '99999999999999999999', expected a load average from 0 to 10000, as in "
		"4.5\n"},
	{"sensor = maybe", "sensor is 'maybe', expected true or false\n"},
	{"deny_time = never",
		"deny_time is 'never'," DURATION_FROM("1s", "8760h") ", or forever\n"},
	{"log_on_success = {host, reason}",
		"log_on_success is 'reason', expected host, pid, duration, exit or traffic\n"},
	{"log_on_failure = pid", "log_on_failure is 'pid', expected host or reason\n"},
	{"log_address = short", "log_address is 'short', expected full, prefix, hash or none\n"},
	{"log_type = journal", "log_type is 'journal', expected common, syslog or file\n"},
	{"log_type = syslog", "log_type has 1 value" BAD_LOG_TYPE},
	{"log_type = {}", "log_type has 0 values" BAD_LOG_TYPE},
	{"log_type = {common, 3}", "log_type has 2 values" BAD_LOG_TYPE},
	{"log_type = {syslog, daemon, info, 3}", "log_type has 4 values" BAD_LOG_TYPE},
	{"log_type = file", "log_type has 1 value" BAD_LOG_TYPE},
	{"log_type = {file, /a, 1, 2, 3}", "log_type has 5 values" BAD_LOG_TYPE},
	{"log_type = {syslog, demon}",
		"log_type has the facility 'demon', expected one as daemon or local0\n"},
	{"log_type = {syslog, daemon, high}",
		"log_type is 'high', expected emerg, alert, crit, err, warning, notice, info or "
		"debug\n"},
	{"log_type = {file, a}", "log_type is 'a', expected an absolute path\n"},
	{"log_type = {file, /a, 0}", "log_type is '0', expected a number of bytes from 1 to "
				     "1024GiB, as in 4096, 64KiB, 8MiB or 1GiB\n"},
	{"log_type = {file, /a, 2, 1}",
		"log_type has a hard limit below the soft one, expected at least as much\n"},
	{"deliver = pass pass { path = smtpd }",
		"path is 'smtpd', expected an absolute path\n" NO_RECEIVER},
	{"deliver = pass pass { path = "
	 "/01234567890123456789012345678901234567890123456789012345678901234567890123456789"
	 "012345678901234567890123456 }",
		"path has 108 bytes, expected at most 107\n" NO_RECEIVER},
	{"deliver = pass pass { path = /a type = raw }",
		"type is 'raw', expected stream, seqpacket or dgram\n"},
	{"deliver = pass pass { path = /a attributes = haproxy }",
		"attributes is 'haproxy', expected none or postfix\n"},
	{"exec { program = fingerd }", "program is 'fingerd', expected an absolute path\n"},
	{"exec { program = /p env = LANG }", "env has 'LANG'" BAD_VARIABLE},
	{"exec { program = /p env = {\"=C\"} }", "env has '=C'" BAD_VARIABLE},
	{"exec { program = /p env = {\"1A=C\"} }", "env has '1A=C'" BAD_VARIABLE},
	{"exec { program = /p pass_env = {\"LANG=C\"} }",
		"pass_env has 'LANG=C', expected the name of a variable, of letters, digits and "
		"'_', as in PATH\n"},
	{"exec { program = /p user = nosuch }",
		"unknown user 'nosuch', expected a name or number of passwd(5)\n"},
	{"exec { program = /p group = nosuch }",
		"unknown group 'nosuch', expected a name or number of group(5)\n"},
	{"exec { program = /p umask = 028 }",
		"umask is '028', expected octal digits from 0 to 0777, as in 022\n"},
	{"exec { program = /p umask = 01000 }",
		"umask is '01000', expected octal digits from 0 to 0777, as in 022\n"},
	{"exec { program = /p umask = 777777777777777777777777 }",
		"umask is '777777777777777777777777', expected octal digits from 0 to 0777, as in "
		"022\n"},
	{"exec { program = /p nice = 20 }", "nice is '20', expected a number from -20 to 19\n"},
	{"exec { program = /p nice = -21 }", "nice is '-21', expected a number from -20 to 19\n"},
	{"exec { program = /p nice = - }", "nice is '-', expected a number from -20 to 19\n"},
	{"exec { program = /p directory = tmp }",
		"directory is 'tmp', expected an absolute path\n"},
	{"exec { program = /p rlimit { as = 1KB } }",
		"as is '1KB', expected a number of bytes from 0 to 4294967296GiB, as in 4096, "
		"64KiB, 8MiB or 1GiB, or unlimited\n"},
	{"exec { program = /p rlimit { as = 18446744073709551615GiB } }",
		"as is '18446744073709551615GiB', expected a number of bytes from 0 to "
		"4294967296GiB, as in 4096, 64KiB, 8MiB or 1GiB, or unlimited\n"},
	{"exec { program = /p rlimit { cpu = 0 } }",
		"cpu is '0s'," DURATION_FROM("1s", "8760h") ", or unlimited\n"},
	{"exec { program = /p rlimit { nofile = 2 } }",
		"nofile is '2', expected a number from 3 to 2147483647, or unlimited\n"},
	{"socket { receive_buffer = 2GiB }",
		"receive_buffer is '2GiB', expected a number of bytes from 0 to 1GiB, as in 4096, "
		"64KiB, 8MiB or 1GiB\n"},
	{"socket { defer_accept = 5 }",
		"defer_accept is '5', which has no unit,"
		" expected a duration from 0ms to 1h, as in 500ms, 5s, 2min or 1h"
		"\n"},
	{"socket { mode = 0888 }",
		"mode is '0888', expected octal digits from 0 to 0777, as in 022\n"},
};

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(errors); i++) {
		char text[512], expected[512];

		snprintf(text, sizeof(text), SERVICE("%s"), errors[i].text);
		snprintf(expected, sizeof(expected), "c.conf:3: %s", errors[i].expected);
		check_errors(text, expected);
	}
}

static void test_error_of_the_defaults_is_said_once(void **state)
{
	(void)state;
	check_errors("defaults {\ncps = 3 }\n" SERVICE("") "service b { listen = \"tcp:81\" }\n",
		"c.conf:2: cps has 1 value, expected how many a second, and how long to pause, as in "
		"{200, 10}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_initial_values),
		check_test(test_admission),
		check_test(test_other_forms_of_admission),
		check_test(test_log),
		check_test(test_log_types),
		check_test(test_exec),
		check_test(test_pass),
		check_test(test_socket),
		check_test(test_receivers_of_other_types),
		check_test(test_defaults_of_every_kind),
		check_test(test_errors),
		check_test(test_error_of_the_defaults_is_said_once),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
