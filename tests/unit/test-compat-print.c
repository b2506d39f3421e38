/* SPDX-License-Identifier: MIT */
/*
 * What usherctl convert writes is what usherd reads: each byte of each value, and the whole of a
 * file that has everything.
 */
#include "compat/inetd-conf.h"
#include "compat/translation-print.h"
#include "compat/xinetd-conf.h"
#include "config-files.h"
#include "config-private.h"
#include "test.h"
#include "translations.h"

#include <confuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TEXTS	   12
#define N_RUNS	   2000
#define MAX_LENGTH 24

/* Always the same ones. */
static unsigned int next_random(unsigned int most)
{
	static unsigned long seed = 1;

	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned int)(seed >> 33) % most;
}

/* Of what could be misunderstood, and of longer characters. */
static void make_text(char *text)
{
	static const char *const pieces[] = {"\\", "\"", "'", "$", "{", "}", "${HOME}", "#", "//",
		"/*", "*/", " ", "a", "n", "0", "=", "+=", ",", "(", ")", "ä", "€", "𝄞", "\\x41"};
	unsigned int n = next_random(8);

	*text = '\0';
	for (unsigned int i = 0; i < n; i++)
		strcat(text, pieces[next_random(sizeof(pieces) / sizeof(pieces[0]))]);
}

/* Write the texts as a list, and read it as config-parse.c does. */
static void check_texts(char texts[N_TEXTS][64])
{
	cfg_opt_t section[] = {CFG_STR_LIST("list", NULL, CFGF_NODEFAULT), CFG_END()};
	cfg_opt_t options[] = {CFG_SEC("s", section, CFGF_NONE), CFG_END()};
	struct config_errors errors = {0};
	struct config_source source;
	FILE *stream = fopen("list.conf", "we");
	cfg_t *cfg, *s;

	assert_non_null(stream);
	fputs("s {\nlist = {", stream);
	for (size_t i = 0; i < N_TEXTS; i++) {
		fputs(i > 0 ? ", " : "", stream);
		translation_print_text(texts[i], stream);
	}
	fputs("}\n}\n", stream);
	assert_int_equal(fclose(stream), 0);
	assert_true(config_source_read("list.conf", &source, &errors));
	cfg = cfg_init(options, CFGF_NONE);
	assert_int_equal(cfg_parse_buf(cfg, source.text), CFG_SUCCESS);
	s = cfg_getsec(cfg, "s");
	assert_int_equal(cfg_size(s, "list"), N_TEXTS);
	for (unsigned int i = 0; i < N_TEXTS; i++)
		assert_string_equal(cfg_getnstr(s, "list", i), texts[i]);
	cfg_free(cfg);
	config_source_done(&source);
	config_errors_done(&errors);
}

static void test_values_come_back_as_they_were(void **state)
{
	char texts[N_TEXTS][64];

	(void)state;
	for (int run = 0; run < N_RUNS; run++) {
		for (size_t i = 0; i < N_TEXTS; i++)
			make_text(texts[i]);
		check_texts(texts);
	}
}

/* Load what is written of a translation. */
static struct config *load_printed(struct translation *translation)
{
	FILE *stream;

	translation_finish(translation);
	write_config("c.conf", "");
	stream = fopen("c.conf", "we");
	assert_non_null(stream);
	translation_print(translation, stream);
	assert_int_equal(fclose(stream), 0);
	translation_done(translation);
	return load_file("c.conf");
}

static void test_inetd_conf_that_has_everything_loads(void **state)
{
	struct translation translation = {0};
	struct config *config;
	const struct config_service *service;

	(void)state;
	translations_facts.basic_user = NULL;
	inetd_conf_translate(&translation, "f",
		"# comment ${X} \"\n"
		"echo stream tcp nowait root internal\n"
		"echo dgram udp wait root internal\n"
		"79 stream tcp4,rcvbuf=64k,sndbuf=32k nowait/10/20/3 daemon:sys /bin/sh -sh -c "
		"'echo \"${A}\\n\"'\n"
		"80 stream tcp6 nowait.60 root /usr/sbin/tcpd x\n"
		"81 stream tcp46 wait root /bin/cat cat\n"
		"/tmp/compat-s stream unix nowait root /bin/cat cat\n"
		"/tmp/compat-d dgram unix wait root /bin/cat cat\n"
		"tcpmux stream tcp nowait root internal\n"
		"tcpmux/+date stream tcp nowait daemon /bin/date date\n",
		&translations_facts);
	config = load_printed(&translation);
	assert_int_equal(config->n_services, 8);
	service = config_find_service(config, "79");
	assert_int_equal(service->instances, 10);
	assert_int_equal(service->admission.per_source_rate.count, 20);
	assert_int_equal(service->admission.per_source, 3);
	assert_int_equal(service->socket.receive_buffer, 65536);
	assert_string_equal(service->exec.name, "-sh");
	assert_string_equal(service->exec.args[1], "echo \"${A}\\n\"");
	assert_string_equal(service->exec.group, "sys");
	service = config_find_service(config, "80");
	assert_int_equal(service->admission.rate.count, 60);
	assert_true(service->socket.v6only);
	service = config_find_service(config, "81");
	assert_int_equal(service->deliver, CONFIG_DELIVER_LISTENER);
	assert_int_equal(config_find_service(config, "echo")->n_listen, 4);
	config_free(config);
}

static void test_xinetd_conf_that_has_everything_loads(void **state)
{
	struct translation translation = {0};
	struct config *config;
	const struct config_service *service;

	(void)state;
	xinetd_conf_translate(&translation, "f",
		"defaults\n{\ninstances = UNLIMITED\nper_source = UNLIMITED\ncps = 25 30\n"
		"log_type = FILE /var/log/x 1M 2M\nlog_on_success = PID HOST EXIT DURATION TRAFFIC\n"
		"log_on_failure = HOST ATTEMPT\nmax_load = 2.5\numask = 022\n}\n"
		"service a\n{\ntype = UNLISTED\nport = 79\nsocket_type = stream\nwait = no\n"
		"user = daemon\ngroup = sys\ngroups = yes\nserver = /bin/cat\nserver_args = -u\n"
		"only_from = 10.0.0.0 10.1.2.{3,4} 0.0.0.0/0 ::1\nno_access = 10.9.9.9\n"
		"access_times = 2:00-9:00 12:00-23:59\nnice = -3\nenv = A=b\npassenv = TZ\n"
		"flags = NODELAY KEEPALIVE IPv6\nbanner_success = /etc/motd\n"
		"rlimit_as = 80M\nrlimit_cpu = 20\nrlimit_data = UNLIMITED\nrlimit_files = 64\n"
		"rlimit_rss = 9k\nrlimit_stack = 8M\n}\n"
		"service b\n{\ntype = UNLISTED\nport = 80\nsocket_type = stream\nwait = no\n"
		"flags = SENSOR\ndeny_time = FOREVER\n}\n"
		"service c\n{\ntype = UNLISTED\nport = 81\nsocket_type = stream\nwait = no\n"
		"user = nobody\nredirect = 127.0.0.1 80\nlog_type = SYSLOG local0 notice\n}\n"
		"service d\n{\ndisable = yes\ntype = UNLISTED\nport = 82\nsocket_type = dgram\n"
		"wait = yes\nuser = nobody\nserver = /bin/cat\n}\n",
		&translations_facts);
	config = load_printed(&translation);
	assert_int_equal(config->n_services, 4);
	service = config_find_service(config, "a");
	assert_int_equal(service->admission.n_rules, 6);
	assert_int_equal(service->admission.cps.pause_usec, 30000000);
	assert_int_equal(service->admission.max_load_percent, 250);
	assert_int_equal(service->admission.n_hours, 2);
	assert_int_equal(service->exec.n_rlimits, 6);
	assert_int_equal(service->exec.umask, 022);
	assert_int_equal(service->exec.nice, -3);
	assert_true(service->exec.has_groups);
	assert_string_equal(service->exec.banner, "/etc/motd");
	assert_int_equal(service->log.type.hard_bytes, 2 << 20);
	assert_true(config_find_service(config, "b")->admission.is_sensor);
	assert_int_equal(config_find_service(config, "c")->exec.n_args, 3);
	assert_true(config_find_service(config, "d")->is_disabled);
	config_free(config);
}

/* The time is what is tested: check_test() limits it. */
static void test_many_lines_of_comment(void **state)
{
	static const char line[] = "# anybody may write this\n";
	const size_t n = 200000;
	struct translation translation = {0};
	char *text = malloc(n * strlen(line) + 1);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < n; i++)
		memcpy(text + i * strlen(line), line, sizeof(line));
	inetd_conf_translate(&translation, "f", text, &translations_facts);
	assert_string_equal(translation.comment, text);
	translation_done(&translation);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_values_come_back_as_they_were),
		check_test(test_inetd_conf_that_has_everything_loads),
		check_test(test_xinetd_conf_that_has_everything_loads),
		check_test(test_many_lines_of_comment),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
