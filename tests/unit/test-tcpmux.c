/* SPDX-License-Identifier: MIT */
/* usher-tcpmux and its clients: quick, slow, silent, and too many. */
#include "mux.h"
#include "stub-usher.h"
#include "talk.h"
#include "test.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define CREDIT	    100

static struct mux mux;

static void begin(void)
{
	talk_begin();
	mux = (struct mux){0};
	assert_int_equal(directory_add(&mux.directory, "smtp=mail"), 0);
	assert_int_equal(directory_add(&mux.directory, "+whois"), 0);
	assert_int_equal(
		enrolment_init(&mux.enrolment, &talk.loop, "test", CREDIT, mux_on_connection, NULL),
		0);
	mux_init(&mux, PATIENCE_MS, CREDIT);
}

static void end(void)
{
	mux_done(&mux);
	directory_done(&mux.directory);
	enrolment_done(&mux.enrolment);
	talk_end();
}

static int connect_with(const char *data)
{
	return talk_connect(&mux.enrolment, mux_on_connection, data);
}

static int begin_client(void)
{
	begin();
	return connect_with(NULL);
}

static void assert_forwarded(const char *service, const char *data)
{
	talk_until_quiet();
	assert_int_equal(stub.n_forwarded, 1);
	assert_string_equal(stub.forwarded_to, service);
	assert_int_equal(stub.forwarded_size, strlen(data));
	assert_memory_equal(stub.forwarded_data, data, strlen(data));
	assert_int_equal(mux.connections.n, 0);
	assert_int_equal(stub.n_closed, 0);
	assert_int_equal(stub.n_held, 0);
}

/* What the service finds in the socket. */
static void assert_left(const char *expected)
{
	char text[64] = "";

	assert_int_equal(recv(stub.forwarded_fd, text, sizeof(text), 0), strlen(expected));
	assert_string_equal(text, expected);
}

static void test_name_is_forwarded_and_the_service_answers(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "SMTP\r\n");
	assert_forwarded("mail", "");
	assert_gets(fd, "");
	close(fd);
	end();
}

static void test_tcpmuxplus_is_answered_here(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "whois\r\n");
	assert_forwarded("whois", "");
	assert_gets(fd, "+Go\r\n");
	close(fd);
	end();
}

/* A program that knows nothing of usher could not be given them otherwise. */
static void test_what_follows_the_line_stays_in_the_socket(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "smtp\r\nEHLO me\r\n");
	assert_forwarded("mail", "");
	assert_left("EHLO me\r\n");
	close(fd);
	end();
}

static void test_line_may_come_byte_by_byte(void **state)
{
	static const char text[] = "smtp\r\n";
	int fd = begin_client();

	(void)state;
	for (size_t i = 0; i < strlen(text); i++)
		talk_send(fd, (char[]){text[i], '\0'});
	assert_forwarded("mail", "");
	close(fd);
	end();
}

static void test_bytes_of_an_earlier_service_come_first(void **state)
{
	int fd;

	(void)state;
	begin();
	fd = connect_with("smtp\r\nmore");
	assert_forwarded("mail", "more");
	close(fd);
	end();
}

static void test_line_may_begin_with_bytes_of_an_earlier_service(void **state)
{
	int fd;

	(void)state;
	begin();
	fd = connect_with("sm");
	talk_send(fd, "tp\r\nmore");
	assert_forwarded("mail", "");
	assert_left("more");
	close(fd);
	end();
}

static void test_help_lists_the_names(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "help\r\n");
	assert_gets_end(fd, "smtp\r\nwhois\r\n");
	assert_int_equal(mux.connections.n, 0);
	end();
}

/* More than the socket's buffer takes, to one who reads late. */
static void test_long_help_waits_for_the_reader(void **state)
{
	static char expected[70 * DIRECTORY_MAX];
	int small = 1;
	int fd;

	(void)state;
	begin();
	for (int i = 0; i < DIRECTORY_MAX - 2; i++) {
		char name[64] = "";

		memset(name, 'a', 60);
		name[0] = (char)('a' + i % 26);
		name[1] = (char)('a' + i / 26 % 26);
		name[2] = (char)('a' + i / 26 / 26);
		strcat(name, "=x");
		assert_int_equal(directory_add(&mux.directory, name), 0);
	}
	memcpy(expected, mux.directory.help, mux.directory.help_size);
	fd = connect_with(NULL);
	setsockopt(TAILQ_FIRST(&mux.connections.open)->fd, SOL_SOCKET, SO_SNDBUF, &small,
		sizeof(small));
	talk_send(fd, "HELP\r\n");
	assert_int_equal(mux.connections.n_lingering, 0);
	assert_gets_end(fd, expected);
	end();
}

static void test_unknown_name_is_refused(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "finger\r\nwith more behind it");
	assert_gets_end(fd, "-Service not available\r\n");
	assert_int_equal(stub.n_forward_tries, 0);
	end();
}

/*
 * CVE-2012-0862: xinetd's tcpmux gave access to all services. Here a name that is not in the
 * directory is not even tried, also if it is a service's, the target of another name, or ours.
 */
static void test_cve_2012_0862_services_without_a_name_are_out_of_reach(void **state)
{
	static const char *const names[] = {"mail\r\n", "test\r\n", "tcpmux\r\n", "+whois\r\n",
		"smtp=mail\r\n", "../mail\r\n", "control\r\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd = begin_client();

		talk_send(fd, names[i]);
		assert_gets_end(fd, "-Service not available\r\n");
		assert_int_equal(stub.n_forward_tries, 0);
		end();
	}
}

static void test_line_without_cr_is_refused_at_once(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "smtp\n");
	assert_gets_end(fd, "-Expected the name of a service, ended by CR LF\r\n");
	assert_int_equal(stub.n_forward_tries, 0);
	end();
}

static void test_endless_line_is_refused(void **state)
{
	char line[200] = "";
	int fd = begin_client();

	(void)state;
	memset(line, 'x', sizeof(line) - 1);
	talk_send(fd, line);
	assert_gets_end(fd, "-Expected the name of a service, ended by CR LF\r\n");
	end();
}

static void test_client_that_leaves_is_closed(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "smt");
	close(fd);
	talk_until_quiet();
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(mux.connections.n, 0);
	end();
}

/* One byte after the other does not buy time. */
static void test_deadline_is_absolute(void **state)
{
	int fd = begin_client();

	(void)state;
	for (int i = 0; i < 9; i++) {
		talk_later(1100);
		talk_send(fd, "x");
		assert_int_equal(stub.n_closed, 0);
	}
	talk_later(99);
	assert_int_equal(stub.n_closed, 0);
	talk_later(1);
	assert_int_equal(stub.n_closed, 1);
	assert_gets_end(fd, "");
	assert_int_equal(mux.connections.n_late, 1);
	end();
}

static void test_refused_client_that_stays_is_closed_too(void **state)
{
	int fd = begin_client();

	(void)state;
	talk_send(fd, "\n");
	talk_later(LINGER_MS - 1);
	talk_send(fd, "and more");
	assert_int_equal(stub.n_closed, 0);
	talk_later(1);
	assert_int_equal(stub.n_closed, 1);
	close(fd);
	end();
}

/* Of a credit of 100 there is always room for 50 more in one turn. */
static void test_oldest_goes_when_there_are_too_many(void **state)
{
	int fds[51];

	(void)state;
	begin();
	for (int i = 0; i < 51; i++) {
		fds[i] = connect_with(NULL);
		talk_later(0);
		assert_int_equal(stub.n_closed, i < 50 ? 0 : 1);
	}
	assert_int_equal(stub.last_closed_id, 1);
	assert_int_equal(mux.connections.n_crowded, 1);
	talk_send(fds[50], "smtp\r\n");
	assert_int_equal(stub.n_forwarded, 1);
	talk_later(TALLY_MS);
	assert_said(
		"usher-test: test: too many clients, so that those who wait longest are closed: "
		"raise the credit (-c), or set per_source (usher.conf(5))\n");
	for (int i = 0; i < 51; i++)
		close(fds[i]);
	end();
}

/* Those have their answer. */
static void test_lingering_go_before_those_who_wait(void **state)
{
	int fds[51];

	(void)state;
	begin();
	for (int i = 0; i < 51; i++) {
		fds[i] = connect_with(NULL);
		if (i == 30)
			talk_send(fds[i], "\n");
	}
	talk_later(0);
	assert_int_equal(stub.n_closed, 1);
	assert_int_equal(stub.last_closed_id, 31);
	assert_int_equal(mux.connections.n_crowded, 0);
	for (int i = 0; i < 51; i++)
		close(fds[i]);
	end();
}

/* usherd restarts, or does not read: the client notices only that it takes a moment. */
static void test_client_waits_for_usherd(void **state)
{
	static const int errors[] = {-EAGAIN, -ENOTCONN};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		int fd = begin_client();

		stub.forward_error = errors[i];
		talk_send(fd, "whois\r\n");
		talk_later(LEAVE_AGAIN_MS);
		talk_send(fd, "more");
		talk_later(LEAVE_AGAIN_MS);
		assert_int_equal(stub.n_forward_tries, 3);
		stub.forward_error = 0;
		talk_later(LEAVE_AGAIN_MS);
		assert_forwarded("whois", "");
		assert_left("more");
		assert_gets(fd, "+Go\r\n"); /* once */
		close(fd);
		end();
	}
}

static void test_client_waits_for_usherd_until_its_deadline(void **state)
{
	int fd = begin_client();

	(void)state;
	stub.forward_error = -ENOTCONN;
	talk_send(fd, "smtp\r\n");
	for (int i = 0; i < 100; i++)
		talk_later(LEAVE_AGAIN_MS);
	assert_int_equal(stub.n_closed, 1);
	assert_gets_end(fd, "");
	assert_said("");
	end();
}

static void test_what_usherd_does_not_allow_is_refused_and_told(void **state)
{
	int fd = begin_client();

	(void)state;
	stub.forward_error = -EPERM;
	talk_send(fd, "smtp\r\n");
	assert_gets_end(fd, "-Service not available\r\n");
	assert_said("usher-test: test: cannot forward to 'mail': usherd does not let this service "
		    "forward: name the target in `forward` of its providers (usher.conf(5))\n");
	end();
}

/* A second answer would be taken for the service's. */
static void test_failure_after_go_is_no_second_answer(void **state)
{
	int fd = begin_client();

	(void)state;
	stub.forward_error = -EPERM;
	talk_send(fd, "whois\r\n");
	assert_gets_end(fd, "+Go\r\n");
	end();
}

static void test_failure_while_waiting_is_told_to_the_client(void **state)
{
	int fd = begin_client();

	(void)state;
	stub.forward_error = -EAGAIN;
	talk_send(fd, "smtp\r\n");
	stub.forward_error = -EPERM;
	talk_later(LEAVE_AGAIN_MS);
	assert_gets_end(fd, "-Service not available\r\n");
	assert_int_equal(mux.connections.n, 0);
	end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		check_test(test_name_is_forwarded_and_the_service_answers),
		check_test(test_tcpmuxplus_is_answered_here),
		check_test(test_what_follows_the_line_stays_in_the_socket),
		check_test(test_line_may_come_byte_by_byte),
		check_test(test_bytes_of_an_earlier_service_come_first),
		check_test(test_line_may_begin_with_bytes_of_an_earlier_service),
		check_test(test_help_lists_the_names),
		check_test(test_long_help_waits_for_the_reader),
		check_test(test_unknown_name_is_refused),
		check_test(test_cve_2012_0862_services_without_a_name_are_out_of_reach),
		check_test(test_line_without_cr_is_refused_at_once),
		check_test(test_endless_line_is_refused),
		check_test(test_client_that_leaves_is_closed),
		check_test(test_deadline_is_absolute),
		check_test(test_refused_client_that_stays_is_closed_too),
		check_test(test_oldest_goes_when_there_are_too_many),
		check_test(test_lingering_go_before_those_who_wait),
		check_test(test_client_waits_for_usherd),
		check_test(test_client_waits_for_usherd_until_its_deadline),
		check_test(test_what_usherd_does_not_allow_is_refused_and_told),
		check_test(test_failure_after_go_is_no_second_answer),
		check_test(test_failure_while_waiting_is_told_to_the_client),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
