/* SPDX-License-Identifier: MIT */
/* Who holds an address: real listeners of this process and of a child. */
#include "address.h"
#include "fd.h"
#include "occupant.h"
#include "test.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static struct address parse(const char *text)
{
	struct address *parsed, address;
	char why[256] = "";
	size_t n;

	if (address_parse(text, &parsed, &n, why, sizeof(why)) < 0)
		fail_msg("%s: %s", text, why);
	assert_int_equal(n, 1);
	address = *parsed;
	free(parsed);
	return address;
}

/* Bind to `text`. Returns the descriptor, or -EBADF where there is no such address family. */
static int bind_to(const char *text)
{
	struct address address = parse(text);
	int fd = socket(address.sockaddr.sa_family, address.type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, &address.sockaddr, address.length) < 0)
		return close_fd(fd);
	return fd;
}

static unsigned int port_of(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	return ntohs(
		((struct sockaddr_in *)&address)->sin_port); /* sin6_port is at the same place */
}

static const char *describe_self(void)
{
	static char text[OCCUPANT_TEXT_MAX];
	char name[17];

	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	snprintf(text, sizeof(text), "pid %d (%s)", getpid(), name);
	return text;
}

static void assert_occupant(const char *sought, int r, const char *expected)
{
	struct address address = parse(sought);
	char text[OCCUPANT_TEXT_MAX];

	assert_int_equal(occupant_find(&address, text, sizeof(text)), r);
	assert_string_equal(text, expected);
}

static void test_finds_who_listens_on_a_port(void **state)
{
	/* %u is the port that the kernel chose. */
	static const struct {
		const char *bound, *sought;
		bool is_found;
	} cases[] = {
		{"tcp:127.0.0.1:0", "tcp:127.0.0.1:%u", true},
		{"tcp:127.0.0.1:0", "tcp:0.0.0.0:%u", true},
		{"tcp:127.0.0.1:0", "tcp:%u", true},
		{"tcp:127.0.0.1:0", "tcp:127.0.0.2:%u", false},
		{"tcp:127.0.0.1:0", "tcp:[::1]:%u", false},
		{"tcp:0.0.0.0:0", "tcp:127.0.0.1:%u", true},
		{"tcp:[::1]:0", "tcp:[::1]:%u", true},
		{"tcp:[::1]:0", "tcp:%u", true},
		{"tcp:[::]:0", "tcp:127.0.0.1:%u", true},
		{"udp:127.0.0.1:0", "udp:127.0.0.1:%u", true},
		{"udp:127.0.0.1:0", "udp:%u", true},
		{"udp:[::]:0", "udp:127.0.0.1:%u", true},
		{"udp:127.0.0.1:0", "tcp:127.0.0.1:%u", false},
		{"tcp:127.0.0.1:0", "udp:127.0.0.1:%u", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_close_ int fd = bind_to(cases[i].bound);
		char sought[ADDRESS_TEXT_MAX], port[16], *mark;

		if (fd < 0)
			continue;
		assert_int_equal(listen(fd, 1), *cases[i].bound == 't' ? 0 : -1);
		snprintf(sought, sizeof(sought), "%s", cases[i].sought);
		mark = strstr(sought, "%u");
		snprintf(port, sizeof(port), "%u", port_of(fd));
		strcpy(mark, port);
		assert_occupant(sought, cases[i].is_found ? 0 : -ENOENT,
			cases[i].is_found ? describe_self() : "another process");
	}
}

static void test_socket_that_does_not_listen_is_not_seen(void **state)
{
	_cleanup_close_ int fd = bind_to("tcp:127.0.0.1:0");
	char sought[ADDRESS_TEXT_MAX];

	(void)state;
	snprintf(sought, sizeof(sought), "tcp:127.0.0.1:%u", port_of(fd));
	assert_occupant(sought, -ENOENT, "another process");
}

static void test_finds_who_listens_on_a_path(void **state)
{
	char path[64], sought[ADDRESS_TEXT_MAX];
	_cleanup_close_ int fd = -EBADF;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/usher test %d.sock", getpid());
	snprintf(sought, sizeof(sought), "unix:%s", path);
	fd = bind_to(sought);
	assert_true(fd >= 0);
	assert_occupant(sought, -ENOENT, "another process");
	assert_int_equal(listen(fd, 1), 0);
	assert_occupant(sought, 0, describe_self());
	unlink(path);
	assert_occupant("unix:/none", -ENOENT, "another process");
}

static void test_finds_who_has_bound_a_path_for_datagrams(void **state)
{
	char path[64], sought[ADDRESS_TEXT_MAX];
	_cleanup_close_ int fd = -EBADF;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/usher-dgram-%d.sock", getpid());
	snprintf(sought, sizeof(sought), "unix-dgram:%s", path);
	fd = bind_to(sought);
	assert_true(fd >= 0);
	assert_occupant(sought, 0, describe_self());
	unlink(path);
}

/* A child with a name that would disturb a terminal holds the only descriptor. */
static void test_finds_a_child_and_keeps_its_name_harmless(void **state)
{
	int fd = bind_to("tcp:127.0.0.1:0"), pair[2];
	char sought[ADDRESS_TEXT_MAX], expected[OCCUPANT_TEXT_MAX], byte;
	pid_t child;

	(void)state;
	assert_int_equal(listen(fd, 1), 0);
	snprintf(sought, sizeof(sought), "tcp:127.0.0.1:%u", port_of(fd));
	test_socketpair(pair);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "evil\n\x1b[31m)");
		send(pair[1], "r", 1, 0);
		for (;;)
			pause();
	}
	close_fd(fd);
	close_fd(pair[1]);
	while (recv(pair[0], &byte, 1, 0) < 0)
		assert_int_equal(errno, EAGAIN);
	close_fd(pair[0]);
	snprintf(expected, sizeof(expected), "pid %d (evil??[31m))", child);
	assert_occupant(sought, 0, expected);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Exits with 0 if the answer for `sought` is `expected`. */
static void be_nobody_and_look(const char *sought, const char *expected)
{
	struct address address = parse(sought);
	char text[OCCUPANT_TEXT_MAX];

	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(2);
	_exit(occupant_find(&address, text, sizeof(text)) != -ENOENT ||
		strcmp(text, expected) != 0);
}

static void test_process_that_cannot_be_seen_is_named_by_its_uid(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	char sought[ADDRESS_TEXT_MAX];
	pid_t child;
	int status;

	(void)state;
	fd = bind_to("tcp:127.0.0.1:0");
	assert_int_equal(listen(fd, 1), 0);
	snprintf(sought, sizeof(sought), "tcp:127.0.0.1:%u", port_of(fd));
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close_fd(fd);
		be_nobody_and_look(sought, "a process of uid 0");
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_finds_who_listens_on_a_port),
		check_test(test_socket_that_does_not_listen_is_not_seen),
		check_test(test_finds_who_listens_on_a_path),
		check_test(test_finds_who_has_bound_a_path_for_datagrams),
		check_test(test_finds_a_child_and_keeps_its_name_harmless),
		check_test_if(test_is_root(), test_process_that_cannot_be_seen_is_named_by_its_uid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
