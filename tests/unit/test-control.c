/* SPDX-License-Identifier: MIT */
/* The control socket with real clients, good and bad ones. They live in the same thread: a client's
 * call never blocks, and the event loop turns in between. */
#include "control.h"
#include "fd.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define BIG_LENGTH (8 << 20)
#define NOBODY	   65534

struct fixture {
	sd_event *event;
	struct control *control;
	char folder[64];
	char path[128];
	char *text; /* the latest that receive() made */
	int n_requests;
	int kept_control_fd, kept_client_fd; /* by the request "upgrade" */
};

static char logged[256]; /* the latest message */

void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	(void)priority, (void)about;
	va_start(arguments, format);
	vsnprintf(logged, sizeof(logged), format, arguments);
	va_end(arguments);
}

/* What is left open over execve(2). */
static void keep_for_the_next(struct fixture *fixture, int client_fd)
{
	fixture->kept_control_fd = fcntl(control_fd(fixture->control), F_DUPFD, 3);
	fixture->kept_client_fd = fcntl(client_fd, F_DUPFD, 3);
	assert_true(fixture->kept_control_fd >= 0 && fixture->kept_client_fd >= 0);
}

static json_t *on_request(const char *request, int client_fd, void *userdata)
{
	struct fixture *fixture = userdata;
	json_t *answer = NULL;
	char *big;

	fixture->n_requests++;
	if (strcmp(request, "upgrade") == 0)
		keep_for_the_next(fixture, client_fd);
	if (strcmp(request, "upgrade") == 0 || strcmp(request, "nothing") == 0)
		return NULL;
	if (strcmp(request, "big") != 0)
		return json_pack("{s:s}", "asked", request);
	big = malloc(BIG_LENGTH);
	assert_non_null(big);
	memset(big, 'x', BIG_LENGTH);
	answer = json_pack("{s:s#}", "big", big, BIG_LENGTH);
	free(big);
	return answer;
}

static void begin(struct fixture *fixture)
{
	*fixture = (struct fixture){.folder = "/tmp/usher-test-control-XXXXXX"};
	assert_non_null(mkdtemp(fixture->folder));
	assert_int_equal(chmod(fixture->folder, 0755), 0);
	snprintf(fixture->path, sizeof(fixture->path), "%s/control.sock", fixture->folder);
	assert_int_equal(sd_event_new(&fixture->event), 0);
	assert_int_equal(control_new(&fixture->control, fixture->event, fixture->path, -EBADF,
				 on_request, fixture),
		0);
}

static void end(struct fixture *fixture)
{
	free(fixture->text);
	assert_null(control_free(fixture->control));
	sd_event_unref(fixture->event);
	assert_int_equal(access(fixture->path, F_OK), -1);
	assert_int_equal(rmdir(fixture->folder), 0);
}

static int connect_client(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return close_fd(fd);
	return fd;
}

/* Let usherd's side do all that it can do now. */
static void turn(struct fixture *fixture)
{
	int r;

	while ((r = sd_event_run(fixture->event, 0)) > 0)
		;
	assert_int_equal(r, 0);
}

/* Read until the end of the file while the event loop turns. */
static const char *receive(struct fixture *fixture, int fd)
{
	size_t length = 0, room = BIG_LENGTH + 4096;
	ssize_t n;

	free(fixture->text);
	fixture->text = malloc(room + 1);
	assert_non_null(fixture->text);
	while ((n = recv(fd, fixture->text + length, room - length, MSG_DONTWAIT)) != 0) {
		if (n > 0)
			length += (size_t)n;
		else if (errno == ECONNRESET) /* what we sent was not read to its end */
			break;
		else if (errno == EAGAIN)
			assert_true(sd_event_run(fixture->event, 10000) >= 0);
		else
			fail();
	}
	fixture->text[length] = '\0';
	return fixture->text;
}

static void send_bytes(int fd, const char *bytes, size_t length)
{
	assert_int_equal(send(fd, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* The answer to `length` bytes of request. */
static const char *ask(struct fixture *fixture, const char *request, size_t length)
{
	_cleanup_close_ int fd = connect_client(fixture->path);

	assert_true(fd >= 0);
	send_bytes(fd, request, length);
	return receive(fixture, fd);
}

#define ask_text(fixture, request) ask(fixture, request, strlen(request))

static void test_answers_a_line(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	assert_string_equal(ask_text(&fixture, "status\n"), "{\"asked\":\"status\"}\n");
	assert_string_equal(ask_text(&fixture, "reload\nrest"), "{\"asked\":\"reload\"}\n");
	assert_int_equal(fixture.n_requests, 2);
	end(&fixture);
}

static void test_line_may_come_in_pieces(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "sta", 3);
	turn(&fixture);
	send_bytes(fd, "tus", 3);
	turn(&fixture);
	assert_int_equal(fixture.n_requests, 0);
	send_bytes(fd, "\n", 1);
	assert_string_equal(receive(&fixture, fd), "{\"asked\":\"status\"}\n");
	fd = close_fd(fd);
	end(&fixture);
}

static void test_end_of_file_ends_the_line_too(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "status", 6);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_string_equal(receive(&fixture, fd), "{\"asked\":\"status\"}\n");
	fd = close_fd(fd);
	end(&fixture);
}

static void test_garbage_is_refused(void **state)
{
	static const char not_text[] =
		"{\"error\":\"the request is not a line of text\",\"exit_status\":64}\n";
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	assert_string_equal(ask(&fixture, "sta\0tus\n", 8), not_text);
	assert_string_equal(ask(&fixture, "\0\n", 2), not_text);
	assert_string_equal(ask(&fixture, "\n", 1), not_text);
	assert_int_equal(fixture.n_requests, 0);
	end(&fixture);
}

static void test_request_that_is_too_long_is_refused(void **state)
{
	char request[4 * CONTROL_MAX_REQUEST];
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	memset(request, 'a', sizeof(request));
	assert_string_equal(ask(&fixture, request, sizeof(request)),
		"{\"error\":\"the request is too long\",\"exit_status\":64}\n");
	assert_string_equal(ask(&fixture, request, CONTROL_MAX_REQUEST),
		"{\"error\":\"the request is too long\",\"exit_status\":64}\n");
	assert_int_equal(fixture.n_requests, 0);
	request[CONTROL_MAX_REQUEST - 1] = '\n';
	assert_int_equal(strlen(ask(&fixture, request, CONTROL_MAX_REQUEST)),
		CONTROL_MAX_REQUEST - 1 + strlen("{\"asked\":\"\"}\n"));
	assert_int_equal(fixture.n_requests, 1);
	end(&fixture);
}

static void test_no_memory_for_an_answer_ends_the_connection(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	*logged = '\0';
	assert_string_equal(ask_text(&fixture, "nothing\n"), "");
	assert_string_equal(logged, "cannot answer usherctl: out of memory");
	assert_string_equal(ask_text(&fixture, "status\n"), "{\"asked\":\"status\"}\n");
	end(&fixture);
}

static void test_slow_reader_of_a_huge_answer_delays_nobody(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "big\n", 4);
	turn(&fixture);
	assert_int_equal(fixture.n_requests, 1);
	assert_string_equal(ask_text(&fixture, "status\n"), "{\"asked\":\"status\"}\n");
	assert_int_equal(strlen(receive(&fixture, fd)), BIG_LENGTH + strlen("{\"big\":\"\"}\n"));
	fd = close_fd(fd);
	end(&fixture);
}

static void test_client_that_leaves_is_forgotten(void **state)
{
	struct fixture fixture;
	size_t n_before;
	int fd;

	(void)state;
	begin(&fixture);
	(void)ask_text(
		&fixture, "status\n"); /* the event loop makes its timer with the first deadline */
	n_before = test_count_fds();
	close_fd(connect_client(fixture.path));
	fd = connect_client(fixture.path);
	send_bytes(fd, "big\n", 4);
	turn(&fixture);
	close_fd(fd);
	turn(&fixture);
	assert_int_equal(test_count_fds(), n_before);
	end(&fixture);
}

static void test_client_that_says_nothing_is_gone_at_the_deadline(void **state)
{
	_cleanup_close_ int silent_fd = -EBADF, slow_fd = -EBADF;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	control_set_timeout(fixture.control, 20000);
	silent_fd = connect_client(fixture.path);
	assert_string_equal(receive(&fixture, silent_fd), "");

	slow_fd = connect_client(fixture.path);
	send_bytes(slow_fd, "big\n", 4);
	do
		assert_true(sd_event_run(fixture.event, UINT64_MAX) > 0);
	while (send(slow_fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1);
	assert_true(strlen(receive(&fixture, slow_fd)) < BIG_LENGTH);
	silent_fd = close_fd(silent_fd);
	slow_fd = close_fd(slow_fd);
	end(&fixture);
}

static void test_next_client_waits_until_another_left(void **state)
{
	int fds[CONTROL_MAX_CLIENTS];
	_cleanup_close_ int next_fd = -EBADF;
	struct fixture fixture;
	char byte;

	(void)state;
	begin(&fixture);
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++)
		fds[i] = connect_client(fixture.path);
	next_fd = connect_client(fixture.path);
	send_bytes(next_fd, "status\n", 7);
	turn(&fixture);
	assert_int_equal(recv(next_fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fixture.n_requests, 0);
	close_fd(fds[7]);
	assert_string_equal(receive(&fixture, next_fd), "{\"asked\":\"status\"}\n");
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS; i++)
		if (i != 7)
			close_fd(fds[i]);
	next_fd = close_fd(next_fd);
	end(&fixture);
}

static void test_shortage_of_descriptors_pauses_and_ends(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct rlimit old, none;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "status\n", 7);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){.rlim_cur = 1, .rlim_max = old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turn(&fixture); /* would never return if the socket were still polled */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_string_equal(receive(&fixture, fd), "{\"asked\":\"status\"}\n");
	fd = close_fd(fd);
	end(&fixture);
}

/* A client of another user: exits with 0 if it got `expected`. */
static void be_foreign_client(const char *path, const char *expected)
{
	char text[256] = "";
	size_t length = 0;
	ssize_t n;
	int fd;

	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(2);
	fd = connect_client(path);
	if (fd < 0 || (send(fd, "status\n", 7, MSG_NOSIGNAL) != 7 && errno != EPIPE))
		_exit(3);
	while ((n = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)n;
	_exit(strcmp(text, expected) != 0);
}

static void test_foreign_user_is_told_that_he_may_not(void **state)
{
	struct fixture fixture;
	pid_t child;
	int status;

	(void)state;
	begin(&fixture);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		be_foreign_client(fixture.path,
			"{\"error\":\"permission denied: only root, the user of usherd and "
			"monitors are answered, see monitors in usher.conf(5)\",\"exit_status\":77}\n");
	while (waitpid(child, &status, WNOHANG) == 0)
		assert_true(sd_event_run(fixture.event, 10000) >= 0);
	assert_int_equal(status, 0);
	assert_int_equal(fixture.n_requests, 0);
	end(&fixture);
}

/* Connect as another user, as often as there are places and more; exits when the pipe is closed. */
static void be_foreign_crowd(const char *path, int pipe_fd)
{
	char byte;

	if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(2);
	for (int i = 0; i < 2 * CONTROL_MAX_CLIENTS; i++)
		if (connect_client(path) < 0)
			_exit(3);
	_exit(read(pipe_fd, &byte, 1) != 0);
}

static void test_foreign_users_take_no_place_away(void **state)
{
	struct fixture fixture;
	int pipe_fds[2], status;
	pid_t child;

	(void)state;
	begin(&fixture);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		close_fd(pipe_fds[1]);
		be_foreign_crowd(fixture.path, pipe_fds[0]);
	}
	close_fd(pipe_fds[0]);
	for (int i = 0; i < 100; i++)
		assert_string_equal(ask_text(&fixture, "status\n"), "{\"asked\":\"status\"}\n");
	close_fd(pipe_fds[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	end(&fixture);
}

static void test_mode_is_0666_whatever_the_umask(void **state)
{
	struct control *second = NULL;
	struct fixture fixture;
	struct stat status;
	char path[160];

	(void)state;
	begin(&fixture);
	snprintf(path, sizeof(path), "%s/second.sock", fixture.folder);
	for (mode_t mask = 0; mask <= 0777; mask += 0777) {
		umask(mask);
		assert_int_equal(
			control_new(&second, fixture.event, path, -EBADF, on_request, &fixture), 0);
		umask(022);
		assert_int_equal(stat(path, &status), 0);
		assert_int_equal(status.st_mode & 07777, 0666);
		second = control_free(second);
	}
	end(&fixture);
}

static void test_only_a_socket_that_nobody_serves_is_replaced(void **state)
{
	struct control *second = NULL;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct fixture fixture;
	int fd;

	(void)state;
	begin(&fixture);
	assert_int_equal(
		control_new(&second, fixture.event, fixture.path, -EBADF, on_request, &fixture),
		-EADDRINUSE);
	assert_string_equal(ask_text(&fixture, "status\n"), "{\"asked\":\"status\"}\n");

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/old.sock", fixture.folder);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close_fd(fd);
	assert_int_equal(
		control_new(&second, fixture.event, address.sun_path, -EBADF, on_request, &fixture),
		0);
	second = control_free(second);
	assert_int_equal(access(address.sun_path, F_OK), -1);
	end(&fixture);
}

static void test_path_that_does_not_fit_is_refused(void **state)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	struct control *control = NULL;
	sd_event *event;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(sd_event_new(&event), 0);
	assert_int_equal(
		control_new(&control, event, path, -EBADF, on_request, NULL), -ENAMETOOLONG);
	assert_int_equal(
		control_new(&control, event, "/none/control.sock", -EBADF, on_request, NULL),
		-ENOENT);
	assert_null(control);
	assert_null(control_free(NULL));
	sd_event_unref(event);
}

/* The fixture's control becomes the one of the process after execve(2). */
static void go_on_as_the_next(struct fixture *fixture)
{
	char path[160];

	/* execve(2) frees nothing: in particular it leaves the file where it is */
	snprintf(path, sizeof(path), "%s.kept", fixture->path);
	assert_int_equal(rename(fixture->path, path), 0);
	control_free(fixture->control);
	assert_int_equal(rename(path, fixture->path), 0);
	assert_int_equal(control_new(&fixture->control, fixture->event, fixture->path,
				 fixture->kept_control_fd, on_request, fixture),
		0);
}

static void test_next_usherd_answers_who_asked_the_one_before(void **state)
{
	_cleanup_close_ int fd = -EBADF, early_fd = -EBADF;
	struct fixture fixture;
	char byte;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "upgrade\n", 8);
	turn(&fixture);
	early_fd = connect_client(fixture.path);
	send_bytes(early_fd, "status\n", 7);
	go_on_as_the_next(&fixture);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);

	assert_int_equal(control_answer(fixture.control, fixture.kept_client_fd,
				 json_pack("{s:s}", "message", "upgraded")),
		0);
	assert_string_equal(receive(&fixture, fd), "{\"message\":\"upgraded\"}\n");
	assert_string_equal(receive(&fixture, early_fd), "{\"asked\":\"status\"}\n");
	fd = close_fd(fd);
	early_fd = close_fd(early_fd);
	end(&fixture);
}

static void test_what_is_taken_over_is_close_on_exec_again(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	fd = connect_client(fixture.path);
	send_bytes(fd, "upgrade\n", 8);
	turn(&fixture);
	go_on_as_the_next(&fixture);
	assert_int_equal(control_fd(fixture.control), fixture.kept_control_fd);
	assert_int_equal(fcntl(fixture.kept_control_fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(control_answer(fixture.control, fixture.kept_client_fd, json_object()), 0);
	assert_int_equal(fcntl(fixture.kept_client_fd, F_GETFD), FD_CLOEXEC);
	fd = close_fd(fd);
	end(&fixture);
}

static void test_no_memory_for_a_late_answer_ends_the_connection(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct fixture fixture;
	int fds[2];

	(void)state;
	begin(&fixture);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	fd = fds[0];
	assert_int_equal(control_answer(fixture.control, fds[1], NULL), -ENOMEM);
	assert_string_equal(receive(&fixture, fd), "");
	fd = close_fd(fd);
	end(&fixture);
}

static void test_inherited_socket_is_closed_on_failure(void **state)
{
	struct control *control = NULL;
	struct fixture fixture;
	char path[160];
	int fd;

	(void)state;
	begin(&fixture);
	snprintf(path, sizeof(path), "%s/none.sock", fixture.folder);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* epoll takes no such file */
	assert_true(control_new(&control, fixture.event, path, fd, on_request, &fixture) < 0);
	assert_null(control);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_answers_a_line),
		check_test(test_line_may_come_in_pieces),
		check_test(test_end_of_file_ends_the_line_too),
		check_test(test_garbage_is_refused),
		check_test(test_request_that_is_too_long_is_refused),
		check_test(test_no_memory_for_an_answer_ends_the_connection),
		check_test(test_slow_reader_of_a_huge_answer_delays_nobody),
		check_test(test_client_that_leaves_is_forgotten),
		check_test(test_client_that_says_nothing_is_gone_at_the_deadline),
		check_test(test_next_client_waits_until_another_left),
		check_test(test_shortage_of_descriptors_pauses_and_ends),
		check_test_if(test_is_root(), test_foreign_user_is_told_that_he_may_not),
		check_test_if(test_is_root(), test_foreign_users_take_no_place_away),
		check_test(test_mode_is_0666_whatever_the_umask),
		check_test(test_only_a_socket_that_nobody_serves_is_replaced),
		check_test(test_path_that_does_not_fit_is_refused),
		check_test(test_next_usherd_answers_who_asked_the_one_before),
		check_test(test_what_is_taken_over_is_close_on_exec_again),
		check_test(test_no_memory_for_a_late_answer_ends_the_connection),
		check_test(test_inherited_socket_is_closed_on_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
