/* SPDX-License-Identifier: MIT */
/*
 * inetd_conf(), xinetd_conf() and xinetd_d() of usher.conf: what of those files is wrong costs the
 * service, what is wrong in usher.conf everything.
 */
#include "config-files.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE(name, port) #port " stream tcp4 nowait root /bin/" name " " name "\n"
#define SECTION(name, port)                                                                        \
	"service " name "\n{\ntype = UNLISTED\nport = " #port "\nsocket_type = stream\n"           \
	"wait = no\nuser = root\nserver = /bin/cat\n}\n"

/* Write a warning without the word that says so. */
static void print_warning(const char *line, FILE *stream)
{
	static const char word[] = "warning: ";
	const char *at = strstr(line, word);

	if (at)
		fprintf(stream, "%.*s%s\n", (int)(at - line), line, at + strlen(word));
	else
		fprintf(stream, "%s\n", line);
}

/* Load c.conf with this text; expect these services, as "NAME ", and these warnings, as lines. */
static struct config *load(const char *text, const char *services, const char *warnings)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	char *found = NULL;
	size_t size;
	FILE *stream = open_memstream(&found, &size);

	write_config("c.conf", text);
	if (config_load("c.conf", 0, &config, &errors) != 0)
		fail_msg("%s", errors.n_lines > 0 ? errors.lines[0] : "no error line");
	for (size_t i = 0; i < config->n_services; i++)
		fprintf(stream, "%s ", config->services[i]->name);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(found, services);
	free(found);
	stream = open_memstream(&found, &size);
	for (size_t i = 0; i < errors.n_warnings; i++)
		print_warning(errors.warnings[i], stream);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(found, warnings);
	free(found);
	config_errors_done(&errors);
	return config;
}

static void check(const char *text, const char *services, const char *warnings)
{
	config_free(load(text, services, warnings));
}

static void test_services_of_all_three(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", LINE("cat", 701));
	write_config("x.conf", SECTION("x", 702) "includedir d\n");
	write_config("d/y", SECTION("y", 703));
	write_config("d2/z", SECTION("z", 704));
	config = load("inetd_conf('i.conf')\nxinetd_conf(\"x.conf\")\nxinetd_d(d2)\n"
		      "service own { listen = 'tcp:705' }",
		"701 own x y z ", "");
	assert_string_equal(config_find_service(config, "701")->file, "i.conf");
	assert_int_equal(config_find_service(config, "701")->line, 1);
	assert_string_equal(config_find_service(config, "701")->exec.program, "/bin/cat");
	assert_string_equal(config_find_service(config, "z")->file, "d2/z");
	assert_int_equal(config->n_files, 6); /* c.conf, i.conf, x.conf, d/y, d2, d2/z */
	config_free(config);
}

static void test_names_are_relative_to_the_file(void **state)
{
	(void)state;
	write_config("sub/s.conf", "inetd_conf('i.conf')\n");
	write_config("sub/i.conf", LINE("cat", 701));
	check("include('sub/s.conf')", "701 ", "");
}

static void test_defaults_hold_for_them(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", LINE("cat", 701) "702 stream tcp4 nowait/9 root /bin/cat cat\n");
	config = load("defaults { instances = 7 }\ninetd_conf('i.conf')", "701 702 ", "");
	assert_int_equal(config_find_service(config, "701")->instances, 7);
	assert_int_equal(config_find_service(config, "702")->instances, 9);
	config_free(config);
}

static void test_wrong_line_costs_that_line(void **state)
{
	(void)state;
	write_config("i.conf", "x\n" LINE("cat", 701) "no-such-service stream tcp nowait root "
						      "/bin/cat\n"
						      "702 stream tcp4 nowait no-such-user "
						      "/bin/cat\n");
	check("inetd_conf('i.conf')", "701 ",
		"i.conf:1: there are 1 fields, expected service, type, protocol, wait or nowait, "
		"user and program; the line is left out\n"
		"i.conf:3: listen: unknown service name 'no-such-service', expected a tcp "
		"name of services(5), a number, or a range as in 8000-8010; service 'no-such-service' is left out\n"
		"i.conf:4: unknown user 'no-such-user', expected a name or number of passwd(5); "
		"service '702' is left out\n");
}

/* inetd takes names only, xinetd both. */
static void test_accounts_by_number(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf",
		"701 stream tcp4 nowait 0:0 /bin/cat cat\n702 stream tcp4 nowait 4242424 /bin/cat\n"
		"703 stream tcp4 nowait root:4242424 /bin/cat\n");
	config = load("inetd_conf('i.conf')", "701 ",
		"i.conf:2: unknown user '4242424', expected a name or number of passwd(5); service "
		"'702' is left out\n"
		"i.conf:3: unknown group '4242424', expected a name or number of group(5); service "
		"'703' is left out\n");
	assert_string_equal(config_find_service(config, "701")->exec.user, "0");
	assert_string_equal(config_find_service(config, "701")->exec.group, "0");
	config_free(config);
}

static void test_conflict_costs_the_foreign_service(void **state)
{
	(void)state;
	write_config("i.conf", LINE("cat", 701) LINE("cat", 702));
	check("inetd_conf('i.conf')\nservice own { listen = 'tcp:127.0.0.1:701' }", "702 own ",
		"i.conf:1: service '701' listens on tcp:0.0.0.0:701, which service 'own' has as "
		"tcp:127.0.0.1:701 at c.conf:2; service '701' is left out\n");
}

static void test_name_that_is_taken_costs_the_foreign_service(void **state)
{
	(void)state;
	write_config("i.conf", LINE("cat", 701));
	write_config("d/701", SECTION("701", 703));
	check("inetd_conf('i.conf')\nservice 701 { listen = 'tcp:702' }\nxinetd_d(d)", "701 ",
		"i.conf:1: service '701' is given a second time, the first is at c.conf:2: remove one of them; service "
		"'701' is left out\n"
		"d/701:1: service '701' is given a second time, the first is at c.conf:2: remove one of them; service "
		"'701' is left out\n");
}

static void test_disabled_service_gives_way(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", LINE("cat", 701) LINE("cat", 702) LINE("cat", 703));
	write_config("d/701", SECTION("701", 704));
	config = load("inetd_conf('i.conf')\nxinetd_d(d)\n"
		      "service 701 { disable = true listen = 'tcp:127.0.0.1:701' }\n"
		      "service 702 { disable = true listen = 'tcp:702' }\n"
		      "service own { listen = 'tcp:127.0.0.1:702' providers { forward = '702' } }",
		"701 702 703 own ",
		"d/701:1: service '701' is given a second time, the first is at i.conf:1: remove one of them; service "
		"'701' is left out\n"
		"i.conf:2: service '702' listens on tcp:0.0.0.0:702, which service 'own' has as "
		"tcp:127.0.0.1:702 at c.conf:5; service '702' is left out\n");
	assert_false(config_find_service(config, "701")->is_disabled);
	assert_string_equal(config_find_service(config, "701")->file, "i.conf");
	assert_true(config_find_service(config, "702")->is_disabled); /* nobody has its place */
	config_free(config);
}

static void test_service_that_is_left_out_is_forgotten(void **state)
{
	struct config *config;

	(void)state;
	write_config("i.conf", "tcpmux stream tcp4 nowait root internal\n"
			       "tcpmux/a stream tcp nowait root /bin/cat\n"
			       "tcpmux/own stream tcp nowait root /bin/cat\n");
	config = load("inetd_conf('i.conf')\nservice own { listen = 'tcp:702' }", "a own tcpmux ",
		"i.conf:1: services behind tcpmux are reached if usher-tcpmux(8) is started as: "
		"usher-tcpmux a own\n"
		"i.conf:3: service 'own' is given a second time, the first is at c.conf:2: remove one of them; service "
		"'own' is left out\n");
	assert_int_equal(config_find_service(config, "tcpmux")->providers.n_forward, 1);
	config_free(config);
}

static void test_what_disabled_services_lack_is_not_told(void **state)
{
	(void)state;
	write_config("d/a", "service no-such-service\n{\ndisable = yes\nsocket_type = stream\n"
			    "wait = no\nuser = root\nserver = /bin/cat\nlibwrap = x\n}\n");
	check("xinetd_d(d)", "", "");
}

static void test_usher_conf_stays_strict(void **state)
{
	(void)state;
	write_config("i.conf", "x\n");
	check_errors("inetd_conf('i.conf')\nservice a { listen = 'tcp:no-such-service' }",
		"c.conf:2: listen: unknown service name 'no-such-service', expected a tcp "
		"name of services(5), a number, or a range as in 8000-8010\n");
}

static void test_folders_must_be_there_and_may_be_empty(void **state)
{
	(void)state;
	check_errors("xinetd_d('none')",
		"c.conf:1: xinetd_d(\"none\"): the folder cannot be read: No such file or "
		"directory, expected one that can\n");
	write_config("empty/.x", "");
	check("xinetd_d('empty')", "", "");
}

/* Whoever purges the package that has made inetd.conf takes it away. */
static void test_file_that_is_not_there_has_no_services(void **state)
{
	(void)state;
	write_config("i.conf", LINE("cat", 701));
	check("inetd_conf('none.conf')\nxinetd_conf('none')\ninetd_conf('i.conf')", "701 ",
		"c.conf:1: none.conf is not there, and offers nothing: make it, or remove this "
		"line\nc.conf:2: none is not there, and offers nothing: make it, or remove this "
		"line\n");
}

/* Another one that cannot be read may have services. */
static void test_files_that_cannot_be_read_are_errors(void **state)
{
	(void)state;
	write_config("i.conf", LINE("cat", 701));
	check_errors("inetd_conf('i.conf/x')", "i.conf/x: cannot be opened: Not a directory\n");
}

static void test_files_of_others_are_refused(void **state)
{
	(void)state;
	write_config("i.conf", LINE("cat", 701));
	assert_int_equal(chmod("i.conf", 0666), 0);
	check_errors("inetd_conf('i.conf')",
		"i.conf: is writable by others than its owner (mode 0666), expected chmod go-w\n");
	write_config("d/a", SECTION("a", 701));
	assert_int_equal(chmod("d/a", 0664), 0);
	write_config("d/b", SECTION("b", 702));
	check("xinetd_d(d)", "b ",
		"d: 'd/a' is left out: it is writable by others than its owner (mode 0664), "
		"expected chmod go-w\n");
}

static void test_too_many_descriptors_are_an_error(void **state)
{
	struct config_errors errors = {0};
	struct config *config = NULL;

	(void)state;
	write_config("i.conf", LINE("cat", 701));
	write_config("c.conf", "inetd_conf('i.conf')");
	assert_int_equal(config_load("c.conf", 10, &config, &errors), -EINVAL);
	assert_int_equal(errors.n_lines, 1);
	assert_non_null(strstr(errors.lines[0], "descriptors are needed"));
	config_errors_done(&errors);
}

static void test_calls_that_are_wrong(void **state)
{
	(void)state;
	check_errors("inetd_conf()\n",
		"c.conf:1: unclear '(', expected a file and ')', as in include(\"FILE\")\n");
}

static int remove_files(void **state)
{
	(void)state;
	return system("rm -rf i.conf x.conf d d2 sub empty") == 0 ? test_begin(state) : -1;
}

#define check_clean(f) cmocka_unit_test_setup_teardown(f, remove_files, test_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_clean(test_services_of_all_three),
		check_clean(test_names_are_relative_to_the_file),
		check_clean(test_defaults_hold_for_them),
		check_clean(test_wrong_line_costs_that_line),
		check_clean(test_accounts_by_number),
		check_clean(test_conflict_costs_the_foreign_service),
		check_clean(test_name_that_is_taken_costs_the_foreign_service),
		check_clean(test_disabled_service_gives_way),
		check_clean(test_service_that_is_left_out_is_forgotten),
		check_clean(test_what_disabled_services_lack_is_not_told),
		check_clean(test_usher_conf_stays_strict),
		check_clean(test_folders_must_be_there_and_may_be_empty),
		check_clean(test_file_that_is_not_there_has_no_services),
		check_clean(test_files_that_cannot_be_read_are_errors),
		check_clean(test_files_of_others_are_refused),
		check_clean(test_too_many_descriptors_are_an_error),
		check_clean(test_calls_that_are_wrong),
	};

	return cmocka_run_group_tests(tests, config_files_begin, config_files_end);
}
