/* SPDX-License-Identifier: MIT */
/* usher-banner: its text, whoever writes to the file, and clients that do not take it. */
#include "banner.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define CREDIT	    100

static struct banner banner;
static char folder[32], path[64];

/* Another file in the place of the former one. */
static void write_file(const void *text, size_t size)
{
	char new_path[64];
	int fd;

	(void)snprintf(new_path, sizeof(new_path), "%s/new", folder);
	fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, size), size);
	close(fd);
	assert_int_equal(rename(new_path, path), 0);
}

static void begin_file(const char *text)
{
	strcpy(folder, "/tmp/usher-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/text", folder);
	if (text)
		write_file(text, strlen(text));
}

static void end_file(void)
{
	(void)unlink(path);
	assert_int_equal(rmdir(folder), 0);
}

static void begin(const char *text, const char *target)
{
	begin_file(text);
	banner = (struct banner){0};
	talk_begin();
	assert_int_equal(enrolment_init(&banner.enrolment, &talk.loop, "test", CREDIT,
				 banner_on_connection, NULL),
		0);
	assert_int_equal(banner_init(&banner, path, target, PATIENCE_MS, CREDIT), 0);
}

static void end(void)
{
	banner_done(&banner);
	enrolment_done(&banner.enrolment);
	talk_end();
	end_file();
}

static int connect_with(const char *data)
{
	return talk_connect(&banner.enrolment, banner_on_connection, data);
}

/* A client that does not read, and whose socket takes little. */
static int connect_slowly(void)
{
	struct usher_connection accepted = {.id = 7};
	int small = 1;
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	accepted.fd = fds[0];
	assert_int_equal(banner_on_connection(&banner.enrolment, &accepted), 0);
	return fds[1];
}

static void test_text_is_sent_as_it_is_then_the_end(void **state)
{
	(void)state;
	begin("Go away.\nPlease.\n", NULL);
	assert_gets_end(connect_with(NULL), "Go away.\nPlease.\n");
	assert_int_equal(stub.n_closed, 1);
	end();
}

static void test_empty_text_is_only_the_end(void **state)
{
	(void)state;
	begin("", NULL);
	assert_gets_end(connect_with(NULL), "");
	end();
}

/* A close(2) would reset the connection, and destroy the text on its way. */
static void test_input_does_not_harm_the_text(void **state)
{
	int fd;

	(void)state;
	begin("text", NULL);
	fd = connect_with("of an earlier service");
	talk_send(fd, "input");
	assert_int_equal(stub.n_closed, 0);
	assert_gets_end(fd, "text");
	end();
}

static void test_client_that_stays_is_closed(void **state)
{
	int fd;

	(void)state;
	begin("text", NULL);
	fd = connect_with(NULL);
	talk_later(LINGER_MS);
	assert_int_equal(stub.n_closed, 1);
	close(fd);
	end();
}

static void test_client_is_given_on_after_the_text(void **state)
{
	char input[8] = "";
	int fd;

	(void)state;
	begin("Welcome.\r\n", "ftp");
	fd = connect_with("USER");
	talk_send(fd, "me");
	assert_string_equal(stub.forwarded_to, "ftp");
	assert_int_equal(stub.forwarded_size, 4);
	assert_memory_equal(stub.forwarded_data, "USER", 4);
	assert_int_equal(recv(stub.forwarded_fd, input, sizeof(input), 0), 2); /* not read here */
	assert_gets(fd, "Welcome.\r\n");
	close(fd);
	end();
}

static void test_client_waits_for_usherd(void **state)
{
	int fd;

	(void)state;
	begin("Welcome.\r\n", "ftp");
	stub.forward_error = -ENOTCONN;
	fd = connect_with(NULL);
	talk_later(LEAVE_AGAIN_MS);
	stub.forward_error = 0;
	talk_later(LEAVE_AGAIN_MS);
	assert_int_equal(stub.n_forwarded, 1);
	assert_gets(fd, "Welcome.\r\n"); /* once */
	close(fd);
	end();
}

static void test_what_usherd_does_not_allow_is_told(void **state)
{
	(void)state;
	begin("Welcome.\r\n", "ftp");
	stub.forward_error = -EPERM;
	assert_gets_end(connect_with(NULL), "Welcome.\r\n");
	assert_said("usher-test: test: cannot forward to 'ftp': usherd does not let this service "
		    "forward: name the target in `forward` of its providers (usher.conf(5))\n");
	end();
}

static void test_changed_file_is_read_again(void **state)
{
	(void)state;
	begin("one", NULL);
	write_file("two", 3); /* the same length */
	assert_gets_end(connect_with(NULL), "two");
	end();
}

/* A client that has begun to read the former text gets the rest of it. */
static void test_text_that_changes_while_it_is_sent(void **state)
{
	char *text = malloc(TEXT_MAX + 1);
	int fd;

	(void)state;
	memset(text, 'a', TEXT_MAX);
	text[TEXT_MAX] = '\0';
	begin(text, NULL);
	fd = connect_slowly();
	assert_int_equal(banner.n_sent, 0);
	write_file("new", 3);
	assert_gets_end(connect_with(NULL), "new");
	assert_gets_end(fd, text);
	free(text);
	end();
}

static void test_file_that_is_gone_is_sent_from_memory_and_told(void **state)
{
	char expected[256];

	(void)state;
	begin("text", NULL);
	unlink(path);
	assert_gets_end(connect_with(NULL), "text");
	assert_gets_end(connect_with(NULL), "text");
	(void)snprintf(expected, sizeof(expected),
		"usher-test: test: cannot read %s, and sends what was in it before: No such file or "
		"directory\n",
		path);
	assert_said(expected);
	end();
}

static void test_slow_reader_is_closed_at_its_deadline(void **state)
{
	char *text = calloc(1, TEXT_MAX);
	int fd;

	(void)state;
	begin("", NULL);
	write_file(text, TEXT_MAX);
	fd = connect_slowly();
	talk_later(PATIENCE_MS - 1);
	assert_int_equal(stub.n_closed, 0);
	assert_int_equal(banner.n_sent, 0);
	talk_later(1);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(banner.connections.n_late, 1);
	close(fd);
	free(text);
	end();
}

static int refresh_error(void)
{
	struct text_file f;
	int r;

	text_file_init(&f, path);
	r = text_file_refresh(&f);
	text_file_done(&f);
	return r;
}

static void test_what_is_no_small_file_is_refused(void **state)
{
	char *text = calloc(1, TEXT_MAX + 1);

	(void)state;
	begin_file(NULL);
	assert_int_equal(refresh_error(), -ENOENT);
	write_file(text, TEXT_MAX);
	assert_int_equal(refresh_error(), 0);
	write_file(text, TEXT_MAX + 1);
	assert_int_equal(refresh_error(), -EFBIG);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(refresh_error(), -EINVAL);
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(refresh_error(), -EINVAL);
	rmdir(path);
	free(text);
	end_file();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_text_is_sent_as_it_is_then_the_end),
		check_test(test_empty_text_is_only_the_end),
		check_test(test_input_does_not_harm_the_text),
		check_test(test_client_that_stays_is_closed),
		check_test(test_client_is_given_on_after_the_text),
		check_test(test_client_waits_for_usherd),
		check_test(test_what_usherd_does_not_allow_is_told),
		check_test(test_changed_file_is_read_again),
		check_test(test_text_that_changes_while_it_is_sent),
		check_test(test_file_that_is_gone_is_sent_from_memory_and_told),
		check_test(test_slow_reader_is_closed_at_its_deadline),
		check_test(test_what_is_no_small_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
