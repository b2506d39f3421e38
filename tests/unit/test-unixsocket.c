/* SPDX-License-Identifier: MIT */
/* Binding paths: the exact mode, and what is and is not taken over. */
#include "fd.h"
#include "loop.h"
#include "unixsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	return st.st_mode & 07777;
}

static int listen_at(const char *path)
{
	int fd = -EBADF;

	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &fd), 0);
	return fd;
}

/* Returns a connected socket or a negative errno. */
static int connect_to(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

static void test_the_mode_is_exact_whatever_the_umask(void **state)
{
	static const mode_t umasks[] = {000, 022, 077, 0777}, modes[] = {0600, 0660, 0666, 0777};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(umasks) * N_ELEMENTS(modes); i++) {
		_cleanup_close_ int fd = -EBADF;
		const char *path = in_folder("mode");
		mode_t wanted = modes[i / N_ELEMENTS(umasks)],
		       ours = umasks[i % N_ELEMENTS(umasks)];
		mode_t before = umask(ours);
		int r = unixsocket_listen(path, SOCK_SEQPACKET, wanted, 8, &fd);

		assert_int_equal(umask(before), ours); /* and the umask is what it was */
		assert_int_equal(r, 0);
		assert_int_equal(mode_of(path), wanted);
		assert_int_equal(unlink(path), 0);
	}
}

static void test_the_socket_listens_and_is_of_its_type(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		_cleanup_close_ int fd = -EBADF, client = -EBADF, accepted = -EBADF;
		const char *path = in_folder("socket");

		assert_int_equal(unixsocket_listen(path, types[i], 0600, 8, &fd), 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		client = connect_to(path, types[i]);
		assert_true(client >= 0);
		accepted = accept(fd, NULL, NULL);
		assert_true(accepted >= 0);
		assert_int_equal(unlink(path), 0);
	}
}

static void test_a_datagram_socket_is_only_bound(void **state)
{
	_cleanup_close_ int fd = -EBADF, client = -EBADF, second = -EBADF;
	const char *path = in_folder("socket");
	char byte;

	(void)state;
	assert_int_equal(unixsocket_listen(path, SOCK_DGRAM, 0600, 8, &fd), 0);
	client = connect_to(path, SOCK_DGRAM);
	assert_int_equal(send(client, "x", 1, 0), 1);
	assert_int_equal(recv(fd, &byte, 1, 0), 1);
	assert_int_equal(unixsocket_listen(path, SOCK_DGRAM, 0600, 8, &second), -EADDRINUSE);
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &second), -EADDRINUSE);
	fd = close_fd(fd);
	assert_int_equal(unixsocket_listen(path, SOCK_DGRAM, 0600, 8, &fd), 0);
}

static void test_the_mode_can_be_changed(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	const char *path = in_folder("socket");
	struct unixsocket_file file;

	(void)state;
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &fd), 0);
	file = unixsocket_identify(path);
	assert_int_equal(unixsocket_set_mode(path, &file, 0666), 0);
	assert_int_equal(mode_of(path), 0666);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unixsocket_set_mode(path, &file, 0600), 0); /* it is not there */
}

static void test_the_backlog_is_as_asked(void **state)
{
	_cleanup_close_ int fd = -EBADF, first = -EBADF, second = -EBADF;
	const char *path = in_folder("socket");

	(void)state;
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 1, &fd), 0);
	first = connect_to(path, SOCK_STREAM | SOCK_NONBLOCK);
	second = connect_to(path, SOCK_STREAM | SOCK_NONBLOCK); /* the kernel takes one more */
	assert_true(first >= 0 && second >= 0);
	assert_int_equal(connect_to(path, SOCK_STREAM | SOCK_NONBLOCK), -EAGAIN);
}

static void test_an_abandoned_socket_is_replaced(void **state)
{
	_cleanup_close_ int fd = -EBADF, client = -EBADF;
	const char *path = in_folder("socket");

	(void)state;
	close_fd(listen_at(path));
	assert_int_equal(connect_to(path, SOCK_STREAM), -ECONNREFUSED);
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0640, 8, &fd), 0);
	assert_int_equal(mode_of(path), 0640);
	client = connect_to(path, SOCK_STREAM);
	assert_true(client >= 0);
}

static void test_an_abandoned_socket_of_another_type_is_replaced(void **state)
{
	_cleanup_close_ int fd = -EBADF;

	(void)state;
	close_fd(listen_at(in_folder("socket")));
	assert_int_equal(unixsocket_listen(in_folder("socket"), SOCK_SEQPACKET, 0600, 8, &fd), 0);
}

static void test_a_live_socket_is_not_taken_over(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	_cleanup_close_ int fd = listen_at(in_folder("socket")), client = -EBADF;

	(void)state, (void)fd;
	for (size_t i = 0; i < N_ELEMENTS(types); i++) {
		int second = -EBADF;

		assert_int_equal(unixsocket_listen(in_folder("socket"), types[i], 0600, 8, &second),
			-EADDRINUSE);
		assert_int_equal(second, -EBADF);
	}
	client = connect_to(in_folder("socket"), SOCK_STREAM);
	assert_true(client >= 0);
}

static void test_a_live_socket_with_a_full_backlog_is_not_taken_over(void **state)
{
	_cleanup_close_ int fd = -EBADF, first = -EBADF, second = -EBADF;
	const char *path = in_folder("socket");

	(void)state;
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 1, &fd), 0);
	first = connect_to(path, SOCK_STREAM);
	second = connect_to(path, SOCK_STREAM);
	assert_int_equal(connect_to(path, SOCK_STREAM | SOCK_NONBLOCK), -EAGAIN);
	assert_int_equal(
		unixsocket_listen(path, SOCK_STREAM, 0600, 8, &(int){-EBADF}), -EADDRINUSE);
}

static void check_is_left_alone(const char *path)
{
	struct stat before, after;
	int fd = -EBADF;

	assert_int_equal(lstat(path, &before), 0);
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &fd), -EEXIST);
	assert_int_equal(fd, -EBADF);
	assert_int_equal(lstat(path, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
}

static void test_what_is_no_socket_is_left_alone(void **state)
{
	const char *path = in_folder("entry");

	(void)state;
	close_fd(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	check_is_left_alone(path);
	assert_int_equal(unlink(path), 0);

	assert_int_equal(mkdir(path, 0700), 0);
	check_is_left_alone(path);
	assert_int_equal(rmdir(path), 0);

	close_fd(listen_at(in_folder("target"))); /* an abandoned one, by another name */
	assert_int_equal(symlink(in_folder("target"), path), 0);
	check_is_left_alone(path);
}

static void test_the_longest_path(void **state)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	int length = snprintf(path, sizeof(path), "%s", in_folder(""));
	_cleanup_close_ int fd = -EBADF;

	(void)state;
	memset(path + length, 'x', sizeof(path) - 1 - (size_t)length);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &fd), -ENAMETOOLONG);
	path[sizeof(path) - 2] = '\0'; /* 107 bytes and the NUL fit */
	assert_int_equal(unixsocket_listen(path, SOCK_STREAM, 0600, 8, &fd), 0);
	assert_int_equal(mode_of(path), 0600);
}

/* What is at the path at the end, and whether it is unlinked. */
static void test_only_the_own_file_is_unlinked(void **state)
{
	const char *path = in_folder("socket");
	_cleanup_close_ int fd = listen_at(path), other = -EBADF;
	struct unixsocket_file file = unixsocket_identify(path), other_file;

	(void)state, (void)fd;
	assert_int_equal(rename(path, in_folder("moved")), 0);
	unixsocket_unlink(path, &file); /* nothing is there */
	other = listen_at(path);
	other_file = unixsocket_identify(path);
	unixsocket_unlink(path, &file);
	assert_int_equal(mode_of(path), 0600);
	unixsocket_unlink(path, &other_file);
	assert_int_equal(access(path, F_OK), -1);
	unixsocket_unlink(in_folder("moved"), &file);
	assert_int_equal(access(in_folder("moved"), F_OK), -1);
}

static void test_what_was_never_there_is_not_unlinked(void **state)
{
	const char *path = in_folder("socket");
	struct unixsocket_file file = unixsocket_identify(path);
	_cleanup_close_ int fd = listen_at(path);

	(void)state, (void)fd;
	unixsocket_unlink(path, &file);
	assert_int_equal(mode_of(path), 0600);
}

static void test_a_folder_that_is_not_there(void **state)
{
	int fd = -EBADF;

	(void)state;
	assert_int_equal(
		unixsocket_listen(in_folder("none/socket"), SOCK_STREAM, 0600, 8, &fd), -ENOENT);
	assert_int_equal(fd, -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_the_mode_is_exact_whatever_the_umask),
		check_loop_test(test_the_socket_listens_and_is_of_its_type),
		check_loop_test(test_a_datagram_socket_is_only_bound),
		check_loop_test(test_the_mode_can_be_changed),
		check_loop_test(test_the_backlog_is_as_asked),
		check_loop_test(test_an_abandoned_socket_is_replaced),
		check_loop_test(test_an_abandoned_socket_of_another_type_is_replaced),
		check_loop_test(test_a_live_socket_is_not_taken_over),
		check_loop_test(test_a_live_socket_with_a_full_backlog_is_not_taken_over),
		check_loop_test(test_what_is_no_socket_is_left_alone),
		check_loop_test(test_the_longest_path),
		check_loop_test(test_only_the_own_file_is_unlinked),
		check_loop_test(test_what_was_never_there_is_not_unlinked),
		check_loop_test(test_a_folder_that_is_not_there),
	};

	return cmocka_run_group_tests_name("unixsocket", tests, NULL, NULL);
}
