/* SPDX-License-Identifier: MIT */
/* From what `usherd --programs` prints to what is run; and what does not depend on a process:
 * variables of a connection, pauses. */
#include "borrowed.h"
#include "command.h"
#include "environment.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const struct child_limit common = {RLIMIT_NOFILE, {1024, 4096}};

/* A document with one service, with these members in the place of the usual ones. */
static json_t *make_document(const char *members)
{
	static const char usual[] =
		"{'program': '/bin/cat', 'name': 'cat', 'args': [], 'env': [], 'pass_env': [],"
		" 'user': null, 'group': null, 'groups': true, 'umask': null, 'nice': 0,"
		" 'no_new_privs': false,"
		" 'rlimits': {}, 'chroot': null, 'directory': '/', 'banner': null,"
		" 'listeners': [{'address': 'tcp:7', 'lent': false}], 'deliver': 'connection',"
		" 'instances': 10, 'log_on_success': [], 'log_address': 'full'}";
	char texts[2][2048];
	json_t *service, *changes;

	snprintf(texts[0], sizeof(texts[0]), "%s", usual);
	snprintf(texts[1], sizeof(texts[1]), "{%s}", members);
	for (size_t i = 0; i < 2; i++)
		for (char *c = texts[i]; *c; c++)
			if (*c == '\'')
				*c = '"';
	service = json_loads(texts[0], 0, NULL);
	changes = json_loads(texts[1], 0, NULL);
	assert_non_null(service);
	assert_non_null(changes);
	assert_int_equal(json_object_update(service, changes), 0);
	json_decref(changes);
	return json_pack("{s:s, s:{s:o}}", "run_dir", "/run/x", "services", "one", service);
}

static int parse(const char *members, struct commands *ret, char *why)
{
	json_t *json = make_document(members);
	int r = commands_parse(ret, json, &common, 1, why);

	json_decref(json);
	return r;
}

/* The only command of a document that is right. */
static struct command *parse_right(const char *members, struct commands *ret)
{
	char why[COMMAND_WHY_SIZE] = "";

	if (parse(members, ret, why) != 0)
		fail_msg("%s", why);
	if (ret->n != 1)
		fail_msg("%s", ret->failures[0].why);
	assert_string_equal(ret->run_dir, "/run/x");
	assert_ptr_equal(commands_find(ret, "one"), ret->list[0]);
	assert_null(commands_find(ret, "two"));
	return ret->list[0];
}

static void test_defaults(void **state)
{
	struct commands commands;
	struct command *command = parse_right("", &commands);

	(void)state;
	assert_string_equal(command->path, "/bin/cat");
	assert_string_equal(command->argv[0], "cat");
	assert_null(command->argv[1]);
	assert_int_equal(command->n_env, 1);
	assert_string_equal(command->env[0], PATH);
	assert_int_equal(command->n_limits, 1);
	assert_false(command->identity.is_changed || command->has_umask || command->has_nice ||
		     command->no_new_privs);
	assert_false(command->is_host_logged || command->is_pid_logged || command->is_exit_logged ||
		     command->is_duration_logged);
	assert_true(command->has_connections);
	assert_false(command->has_lent);
	assert_int_equal(command->instances, 10);
	commands_done(&commands);
}

static void test_all_members(void **state)
{
	struct commands commands;
	struct command *command = parse_right(
		"'args': ['-a', 'b c'], 'umask': 23, 'nice': 2, 'no_new_privs': true, 'directory': '/usr',"
		" 'rlimits': {'as': 1000, 'nofile': 20, 'core': 'unlimited'},"
		" 'log_on_success': ['host', 'pid', 'exit', 'duration', 'traffic'], 'new': 1",
		&commands);

	(void)state;
	assert_string_equal(command->argv[1], "-a");
	assert_string_equal(command->argv[2], "b c");
	assert_null(command->argv[3]);
	assert_true(command->has_umask);
	assert_int_equal(command->umask, 027);
	assert_true(command->has_nice);
	assert_int_equal(command->nice, getpriority(PRIO_PROCESS, 0) + 2);
	assert_true(command->no_new_privs);
	assert_string_equal(command->directory, "/usr");
	assert_int_equal(command->n_limits, 4);
	assert_int_equal(command->limits[0].resource, RLIMIT_NOFILE); /* and later its own */
	for (size_t i = 1; i < 4; i++) {
		const struct child_limit *limit = &command->limits[i];

		assert_int_equal(limit->value.rlim_cur, limit->value.rlim_max);
		assert_true(
			(limit->resource == RLIMIT_AS && limit->value.rlim_cur == 1000) ||
			(limit->resource == RLIMIT_NOFILE && limit->value.rlim_cur == 20) ||
			(limit->resource == RLIMIT_CORE && limit->value.rlim_cur == RLIM_INFINITY));
	}
	assert_true(command->is_host_logged && command->is_pid_logged && command->is_exit_logged &&
		    command->is_duration_logged);
	commands_done(&commands);
}

static void test_nice_stays_in_its_range(void **state)
{
	struct commands commands;

	(void)state;
	assert_int_equal(parse_right("'nice': 1000", &commands)->nice, 19);
	commands_done(&commands);
	assert_int_equal(parse_right("'nice': -1000", &commands)->nice, -20);
	commands_done(&commands);
}

static void test_variables_replace_each_other(void **state)
{
	struct commands commands;
	struct command *command;

	(void)state;
	assert_int_equal(setenv("PASSED", "1", 1), 0);
	assert_int_equal(setenv("AGAIN", "2", 1), 0);
	assert_int_equal(unsetenv("MISSING"), 0);
	command = parse_right("'pass_env': ['PASSED', 'AGAIN', 'MISSING'],"
			      " 'env': ['AGAIN=3', 'PATH=/x', 'AGAINST=4', 'REMOTE_HOST=me', 'E=']",
		&commands);
	assert_int_equal(command->n_env, 5);
	assert_string_equal(command->env[0], "PATH=/x");
	assert_string_equal(command->env[1], "PASSED=1");
	assert_string_equal(command->env[2], "AGAIN=3");
	assert_string_equal(command->env[3], "AGAINST=4");
	assert_string_equal(command->env[4], "E=");
	commands_done(&commands);
}

static void test_kinds_of_listeners(void **state)
{
	struct commands commands;
	struct command *command;

	(void)state;
	command = parse_right("'listeners': [{'lent': false}, {'lent': true}]", &commands);
	assert_true(command->has_connections && command->has_lent);
	commands_done(&commands);
	command = parse_right("'listeners': [{'lent': true}], 'deliver': 'listener'", &commands);
	assert_true(!command->has_connections && command->has_lent);
	commands_done(&commands);
	command = parse_right("'listeners': []", &commands); /* only by way of others */
	assert_true(command->has_connections && !command->has_lent);
	commands_done(&commands);
}

static void test_an_address_is_logged_only_in_full(void **state)
{
	struct commands commands;

	(void)state;
	assert_false(parse_right("'log_on_success': ['host'], 'log_address': 'prefix'", &commands)
			     ->is_host_logged);
	commands_done(&commands);
}

static void test_what_is_the_same_is_equal(void **state)
{
	struct commands a, b, c;

	(void)state;
	(void)parse_right("'nice': 1", &a);
	(void)parse_right("'nice': 1", &b);
	(void)parse_right("'nice': 2", &c);
	assert_true(command_equal(a.list[0], b.list[0]));
	assert_false(command_equal(a.list[0], c.list[0]));
	commands_done(&a);
	commands_done(&b);
	commands_done(&c);
}

static void test_a_reference_outlives_the_list(void **state)
{
	struct commands commands;
	struct command *command = command_ref(parse_right("", &commands));

	(void)state;
	commands_done(&commands);
	assert_string_equal(command->argv[0], "cat");
	assert_null(command_unref(command));
	assert_null(command_unref(NULL));
}

/* The service is left out, with a sentence. */
static void check_failure(const char *members, const char *expected)
{
	char why[COMMAND_WHY_SIZE];
	struct commands commands;

	assert_int_equal(parse(members, &commands, why), 0);
	assert_int_equal(commands.n, 0);
	assert_int_equal(commands.n_failures, 1);
	assert_string_equal(commands.failures[0].service, "one");
	if (!strstr(commands.failures[0].why, expected))
		fail_msg("%s", commands.failures[0].why);
	commands_done(&commands);
}

static void test_what_cannot_be_run(void **state)
{
	(void)state;
	check_failure("'user': 'no-such-user'", "there is no user 'no-such-user'");
	check_failure("'user': '3999999999'", "there is no user '3999999999'");
	check_failure("'group': 'no-such-group'", "there is no group 'no-such-group'");
	check_failure("'rlimits': {'sigpending': 1}", "does not know the rlimit 'sigpending'");
	check_failure("'banner': '/nowhere'", "cannot read the banner /nowhere: No such file");
	check_failure(
		"'banner': '/tmp'", "cannot read the banner /tmp: expected a file of at most");
	check_failure("'banner': '/dev/zero'", "expected a file of at most 64 KiB");
}

static void test_a_banner_is_read_to_its_limit(void **state)
{
	char path[] = "/tmp/usher-test-banner-XXXXXX", members[128];
	int fd = mkstemp(path);
	struct commands commands;

	(void)state;
	snprintf(members, sizeof(members), "'banner': '%s'", path);
	assert_int_equal(ftruncate(fd, COMMAND_MAX_BANNER), 0);
	assert_int_equal(parse_right(members, &commands)->banner_size, COMMAND_MAX_BANNER);
	commands_done(&commands);
	assert_int_equal(ftruncate(fd, COMMAND_MAX_BANNER + 1), 0);
	check_failure(members, "expected a file of at most 64 KiB");
	close(fd);
	assert_int_equal(unlink(path), 0);
}

static void test_identity_of_a_user(void **state)
{
	struct commands commands;
	struct command *command = parse_right("'user': 'games'", &commands);
	const struct passwd *entry = getpwnam("games");
	const struct identity *identity = &command->identity;

	(void)state;
	assert_true(identity->is_changed);
	assert_int_equal(identity->uid, entry->pw_uid);
	assert_int_equal(identity->gid, entry->pw_gid);
	assert_true(identity->n_groups >= 1);
	commands_done(&commands);

	command = parse_right("'user': '5', 'group': 'tty', 'groups': false", &commands);
	assert_int_equal(command->identity.uid, 5);
	assert_int_equal(command->identity.gid, getgrnam("tty")->gr_gid);
	assert_int_equal(command->identity.n_groups, 1);
	assert_int_equal(command->identity.groups[0], command->identity.gid);
	commands_done(&commands);
}

/* As a user without rights; his own name needs none. */
static void test_without_root(void **state)
{
	struct commands commands;

	(void)state;
	assert_int_equal(setegid(60), 0);
	assert_int_equal(seteuid(5), 0);
	check_failure("'user': 'daemon'",
		"for which usher-exec must be started by root, and it was "
		"started by uid 5");
	check_failure("'user': '5', 'group': 'tty'", "must be started by root");
	check_failure("'chroot': '/tmp'", "for chroot usher-exec must be started by root");
	assert_false(parse_right("'user': '5'", &commands)->identity.is_changed);
	commands_done(&commands);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
}

static void check_no_document(const char *text)
{
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
	char why[COMMAND_WHY_SIZE] = "";
	struct commands commands;

	assert_non_null(json);
	assert_int_equal(commands_parse(&commands, json, &common, 1, why), -EINVAL);
	assert_non_null(strstr(why, "must be of one version"));
	json_decref(json);
}

/* Each member in turn is of another type. */
static void test_what_is_no_document_is_refused(void **state)
{
	static const char *const members[] = {"program", "name", "args", "env", "pass_env",
		"groups", "nice", "no_new_privs", "rlimits", "directory", "listeners", "deliver",
		"instances", "log_on_success", "log_address"};
	char why[COMMAND_WHY_SIZE], text[128];
	struct commands commands;

	(void)state;
	check_no_document("[]");
	check_no_document("{}");
	check_no_document("{\"run_dir\": 1, \"services\": {}}");
	check_no_document("{\"run_dir\": \"/\", \"services\": []}");
	check_no_document("{\"run_dir\": \"/\", \"services\": {\"one\": []}}");
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		for (size_t j = 0; j < 2; j++) {
			if (strcmp(members[i], "rlimits") == 0 && j == 1)
				continue;
			snprintf(text, sizeof(text), j == 0 ? "'%s': null" : "'%s': {'a': [1]}",
				members[i]);
			assert_int_equal(parse(text, &commands, why), -EINVAL);
		}
	assert_int_equal(parse("'args': [1]", &commands, why), -EINVAL);
	assert_int_equal(parse("'instances': 0", &commands, why), -EINVAL);
}

/* Environment. */

static struct sockaddr_storage make_address(const char *host, in_port_t port, socklen_t *ret_length)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		memcpy(&storage, &in, sizeof(in));
		*ret_length = sizeof(in);
	} else {
		assert_int_equal(inet_pton(AF_INET6, host, &in6.sin6_addr), 1);
		in6.sin6_scope_id = strncmp(host, "fe80", 4) == 0 ? 7 : 0;
		memcpy(&storage, &in6, sizeof(in6));
		*ret_length = sizeof(in6);
	}
	return storage;
}

/* All variables, one on a line, of a connection from port 1 to port 65535. */
static const char *variables_of(const char *remote_host, const char *local_host)
{
	static char text[1024];
	socklen_t remote_length, local_length;
	struct sockaddr_storage remote = make_address(remote_host, 1, &remote_length);
	struct sockaddr_storage local = make_address(local_host, 65535, &local_length);
	char *variables[ENVIRONMENT_MAX + 1];
	struct environment environment;
	size_t n = environment_make(&environment, variables,
		(struct endpoint){&remote, remote_length}, (struct endpoint){&local, local_length});

	text[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		assert_true(environment_is_own(variables[i]));
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s\n", variables[i]);
	}
	assert_null(variables[n]);
	return text;
}

#define EXPECTED(remote, local)                                                                    \
	"PROTO=TCP\nTCPREMOTEIP=" remote "\nREMOTE_HOST=" remote "\nREMOTE_ADDR=" remote           \
	"\nTCPREMOTEPORT=1\nREMOTE_PORT=1\nTCPLOCALIP=" local "\nTCPLOCALPORT=65535\n"

static void test_variables_of_connections(void **state)
{
	(void)state;
	assert_string_equal(
		variables_of("192.0.2.1", "198.51.100.2"), EXPECTED("192.0.2.1", "198.51.100.2"));
	assert_string_equal(
		variables_of("2001:db8::1", "2001:db8::2"), EXPECTED("2001:db8::1", "2001:db8::2"));
	assert_string_equal(variables_of("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
		EXPECTED("192.0.2.1", "192.0.2.2"));
	assert_string_equal(variables_of("fe80::1", "fe80::2"), EXPECTED("fe80::1%7", "fe80::2%7"));
	assert_string_equal(variables_of("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
				    "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
		EXPECTED("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
			"2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"));
}

static void test_variables_of_others(void **state)
{
	struct sockaddr_storage local = {.ss_family = AF_UNIX}, nothing = {0};
	struct endpoint here = {&local, sizeof(sa_family_t)}, none = {&nothing, 0};
	char *variables[ENVIRONMENT_MAX + 1], text[ENVIRONMENT_TEXT_SIZE];
	struct environment environment;

	(void)state;
	assert_int_equal(environment_make(&environment, variables, here, here), 1);
	assert_string_equal(variables[0], "PROTO=UNIX");
	assert_null(variables[1]);
	local.ss_family = AF_VSOCK;
	assert_int_equal(environment_make(&environment, variables, here, here), 0);
	assert_int_equal(environment_make(&environment, variables, none, none), 0);
	assert_string_equal(endpoint_format(none, text), "unix");
	assert_false(environment_is_own("PROTOCOL=x"));
	assert_false(environment_is_own("PROT"));
	assert_true(environment_is_own("PROTO"));
}

static void test_addresses_for_the_log(void **state)
{
	char text[ENVIRONMENT_TEXT_SIZE];
	socklen_t length;
	struct sockaddr_storage address = make_address("192.0.2.1", 80, &length);

	(void)state;
	assert_string_equal(
		endpoint_format((struct endpoint){&address, length}, text), "192.0.2.1");
	address = make_address("2001:db8::1", 80, &length);
	assert_string_equal(
		endpoint_format((struct endpoint){&address, length}, text), "2001:db8::1");
	address.ss_family = AF_VSOCK;
	assert_string_equal(endpoint_format((struct endpoint){&address, length}, text), "vsock");
}

static void test_pauses_grow_only_after_failures(void **state)
{
	static const int64_t failures[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};

	(void)state;
	for (unsigned int i = 0; i < 9; i++)
		assert_int_equal(borrowed_pause_ms(i + 1, false), failures[i]);
	assert_int_equal(borrowed_pause_ms(UINT32_MAX, false), 10000);
	assert_int_equal(borrowed_pause_ms(1, true), 10);
	assert_int_equal(borrowed_pause_ms(100, true), 10);
	assert_int_equal(borrowed_pause_ms(101, true), 100);
	assert_int_equal(borrowed_pause_ms(UINT32_MAX, true), 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_defaults),
		check_test(test_all_members),
		check_test(test_nice_stays_in_its_range),
		check_test(test_variables_replace_each_other),
		check_test(test_kinds_of_listeners),
		check_test(test_an_address_is_logged_only_in_full),
		check_test(test_what_is_the_same_is_equal),
		check_test(test_a_reference_outlives_the_list),
		check_test(test_what_cannot_be_run),
		check_test(test_a_banner_is_read_to_its_limit),
		check_test_if(test_is_root(), test_identity_of_a_user),
		check_test_if(test_is_root(), test_without_root),
		check_test(test_what_is_no_document_is_refused),
		check_test(test_variables_of_connections),
		check_test(test_variables_of_others),
		check_test(test_addresses_for_the_log),
		check_test(test_pauses_grow_only_after_failures),
	};

	return cmocka_run_group_tests_name("exec: command", tests, NULL, NULL);
}
