/* SPDX-License-Identifier: MIT */
/* Clients of the control socket who are answered later. They live in the same thread; the event
 * loop turns in between. */
#include "control.h"
#include "fd.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct fixture {
	sd_event *event;
	struct control *control;
	char folder[64];
	char path[128];
	char text[4096];
	int client_fd; /* of who has asked "later" */
};

static json_t *on_request(const char *request, int client_fd, void *userdata)
{
	struct fixture *fixture = userdata;

	if (strcmp(request, "later") == 0) {
		fixture->client_fd = client_fd;
		control_give_away(fixture->control, client_fd);
	}
	return json_pack("{s:s}", "asked", request);
}

static void begin(struct fixture *fixture)
{
	*fixture = (struct fixture){.folder = "/tmp/usher-test-later-XXXXXX"};
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/control.sock", fixture->folder);
	assert_int_equal(sd_event_new(&fixture->event), 0);
	assert_int_equal(control_new(&fixture->control, fixture->event, fixture->path, -EBADF,
				 on_request, fixture),
		0);
}

static void end(struct fixture *fixture)
{
	control_free(fixture->control);
	sd_event_unref(fixture->event);
	assert_int_equal(rmdir(fixture->folder), 0);
}

static void turn(struct fixture *fixture)
{
	int r;

	while ((r = sd_event_run(fixture->event, 0)) > 0)
		;
	assert_int_equal(r, 0);
}

/* A client that has sent its request, which the other side has seen. */
static int ask(struct fixture *fixture, const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(address.sun_path, fixture->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(
		send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	turn(fixture);
	return fd;
}

/* What is there to read; "END" when the connection is over. */
static const char *hear(struct fixture *fixture, int fd)
{
	ssize_t n = recv(fd, fixture->text, sizeof(fixture->text) - 1, MSG_DONTWAIT);

	if (n < 0)
		assert_true(errno == EAGAIN || errno == ECONNRESET);
	fixture->text[n > 0 ? n : 0] = '\0';
	return n == 0 || (n < 0 && errno == ECONNRESET) ? "END" : fixture->text;
}

static void test_a_client_is_answered_later(void **state)
{
	struct fixture fixture;
	int fd;

	(void)state;
	begin(&fixture);
	fd = ask(&fixture, "later\n");
	assert_string_equal(hear(&fixture, fd), ""); /* what was returned is dropped */
	assert_int_equal(control_answer(fixture.control, fixture.client_fd,
				 json_pack("{s:s}", "at", "last")),
		0);
	turn(&fixture);
	assert_string_equal(hear(&fixture, fd), "{\"at\":\"last\"}\n");
	assert_string_equal(hear(&fixture, fd), "END");
	close(fd);
	end(&fixture);
}

static void test_a_client_that_is_answered_later_takes_no_place(void **state)
{
	int fds[CONTROL_MAX_CLIENTS + 1], client_fds[CONTROL_MAX_CLIENTS + 1];
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	for (int i = 0; i <= CONTROL_MAX_CLIENTS; i++) {
		fds[i] = ask(&fixture, "later\n");
		client_fds[i] = fixture.client_fd;
	}
	for (int i = 0; i <= CONTROL_MAX_CLIENTS; i++) {
		for (int j = 0; j < i; j++)
			assert_int_not_equal(client_fds[i], client_fds[j]);
		close_fd(client_fds[i]);
		assert_string_equal(hear(&fixture, fds[i]), "END");
		close(fds[i]);
	}
	end(&fixture);
}

/* One that is answered later comes on top of those who have all places. */
static void test_others_wait_while_there_is_one_too_many(void **state)
{
	int fds[CONTROL_MAX_CLIENTS], later_fd, waiting_fd;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	later_fd = ask(&fixture, "later\n");
	for (int i = 0; i < CONTROL_MAX_CLIENTS; i++)
		fds[i] = ask(&fixture, "sta");
	waiting_fd = ask(&fixture, "now\n");
	assert_int_equal(control_answer(fixture.control, fixture.client_fd, json_object()), 0);
	turn(&fixture); /* polled again, it would turn until their time is over */
	assert_string_equal(hear(&fixture, later_fd), "{}\n");
	assert_string_equal(hear(&fixture, waiting_fd), "");
	close(fds[0]);
	turn(&fixture);
	assert_string_equal(hear(&fixture, waiting_fd), "{\"asked\":\"now\"}\n");
	for (int i = 1; i < CONTROL_MAX_CLIENTS; i++)
		close(fds[i]);
	close(waiting_fd);
	close(later_fd);
	end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_client_is_answered_later),
		check_test(test_a_client_that_is_answered_later_takes_no_place),
		check_test(test_others_wait_while_there_is_one_too_many),
	};

	return cmocka_run_group_tests_name("control: given away", tests, NULL, NULL);
}
