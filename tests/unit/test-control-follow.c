/* SPDX-License-Identifier: MIT */
/* Followers of the control socket, who ask, stay, and hear of each event, and clients who are
 * answered later. The clients live in the
 * same thread; the event loop turns in between. */
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

#define BIG_LENGTH (1 << 20)

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

	if (strcmp(request, "follow") == 0 && control_follow(fixture->control, client_fd) < 0)
		return json_pack("{s:s}", "error", "too many");
	if (strcmp(request, "later") == 0) {
		fixture->client_fd = client_fd;
		control_give_away(fixture->control, client_fd);
	}
	return json_pack("{s:s}", "asked", request);
}

static void begin(struct fixture *fixture)
{
	*fixture = (struct fixture){.folder = "/tmp/usher-test-follow-XXXXXX"};
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

static void announce(struct fixture *fixture)
{
	control_announce(fixture->control, json_pack("{s:s}", "event", "reloaded"));
	turn(fixture);
}

static void test_a_follower_hears_of_each_event(void **state)
{
	struct fixture fixture;
	int fds[2];

	(void)state;
	begin(&fixture);
	for (int i = 0; i < 2; i++) {
		fds[i] = ask(&fixture, "follow\n");
		assert_string_equal(hear(&fixture, fds[i]), "{\"asked\":\"follow\"}\n");
	}
	for (int i = 0; i < 6; i++) {
		announce(&fixture);
		assert_string_equal(hear(&fixture, fds[i % 2]), "{\"event\":\"reloaded\"}\n");
		assert_string_equal(hear(&fixture, fds[(i + 1) % 2]), "{\"event\":\"reloaded\"}\n");
	}
	assert_string_equal(hear(&fixture, fds[0]), "");
	close_fd(fds[0]);
	close_fd(fds[1]);
	end(&fixture);
}

static void test_an_event_is_for_followers_only(void **state)
{
	struct fixture fixture;
	int silent_fd;

	(void)state;
	begin(&fixture);
	silent_fd = ask(&fixture, "foll");
	announce(&fixture);
	assert_string_equal(hear(&fixture, silent_fd), "");
	close_fd(silent_fd);
	end(&fixture);
}

static void test_a_follower_has_no_deadline(void **state)
{
	struct fixture fixture;
	int fd, silent_fd;

	(void)state;
	begin(&fixture);
	control_set_timeout(fixture.control, 20000);
	fd = ask(&fixture, "follow\n");
	assert_string_equal(hear(&fixture, fd), "{\"asked\":\"follow\"}\n");
	silent_fd = ask(&fixture, "foll");
	while (strcmp(hear(&fixture, silent_fd), "END") != 0)
		assert_true(sd_event_run(fixture.event, UINT64_MAX) > 0);
	announce(&fixture);
	assert_string_equal(hear(&fixture, fd), "{\"event\":\"reloaded\"}\n");
	close_fd(silent_fd);
	close_fd(fd);
	end(&fixture);
}

static void test_a_follower_that_leaves_or_speaks_is_forgotten(void **state)
{
	struct fixture fixture;
	size_t n_before;
	int fd;

	(void)state;
	begin(&fixture);
	close_fd(ask(&fixture, "status\n")); /* the event loop makes its timer */
	turn(&fixture);
	n_before = test_count_fds();
	close_fd(ask(&fixture, "follow\n"));
	turn(&fixture);
	assert_int_equal(test_count_fds(), n_before);

	fd = ask(&fixture, "follow\n");
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	turn(&fixture);
	assert_int_equal(test_count_fds(), n_before + 1); /* ours */
	announce(&fixture);
	close_fd(fd);
	end(&fixture);
}

/* Its first line is still on its way when the next one comes. */
static void test_a_follower_that_does_not_read_is_ended(void **state)
{
	struct fixture fixture;
	char *big = malloc(BIG_LENGTH);
	size_t n_before;
	int slow_fd, fd;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', BIG_LENGTH);
	begin(&fixture);
	slow_fd = ask(&fixture, "follow\n");
	n_before = test_count_fds();
	control_announce(fixture.control, json_pack("{s:s#}", "event", big, BIG_LENGTH));
	turn(&fixture);
	assert_int_equal(test_count_fds(), n_before);
	fd = ask(&fixture, "follow\n");
	(void)hear(&fixture, fd);
	announce(&fixture);
	assert_int_equal(test_count_fds(), n_before + 1); /* ended there, two more of the other */
	assert_string_equal(hear(&fixture, fd), "{\"event\":\"reloaded\"}\n");
	close_fd(slow_fd);
	close_fd(fd);
	free(big);
	end(&fixture);
}

static void test_no_memory_for_an_event_ends_followers(void **state)
{
	struct fixture fixture;
	int fd;

	(void)state;
	begin(&fixture);
	fd = ask(&fixture, "follow\n");
	(void)hear(&fixture, fd);
	control_announce(fixture.control, NULL);
	assert_string_equal(hear(&fixture, fd), "END");
	close_fd(fd);
	end(&fixture);
}

/* Nor do they take places from those who ask: there is room for all of both. */
static void test_followers_have_a_limit_of_their_own(void **state)
{
	int fds[CONTROL_MAX_FOLLOWERS], silent_fds[CONTROL_MAX_CLIENTS - 1], fd;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	for (size_t i = 0; i < CONTROL_MAX_FOLLOWERS; i++)
		fds[i] = ask(&fixture, "follow\n");
	fd = ask(&fixture, "follow\n");
	assert_string_equal(hear(&fixture, fd), "{\"error\":\"too many\"}\n");
	turn(&fixture);
	assert_string_equal(hear(&fixture, fd), "END");
	close_fd(fd);
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS - 1; i++)
		silent_fds[i] = ask(&fixture, "sta");
	fd = ask(&fixture, "status\n");
	assert_string_equal(hear(&fixture, fd), "{\"asked\":\"status\"}\n");
	close_fd(fd);

	close_fd(fds[3]); /* its place is free again */
	turn(&fixture);
	fds[3] = ask(&fixture, "follow\n");
	assert_string_equal(hear(&fixture, fds[3]), "{\"asked\":\"follow\"}\n");
	for (size_t i = 0; i < CONTROL_MAX_FOLLOWERS; i++)
		close_fd(fds[i]);
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS - 1; i++)
		close_fd(silent_fds[i]);
	end(&fixture);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_a_follower_hears_of_each_event),
		check_test(test_an_event_is_for_followers_only),
		check_test(test_a_follower_has_no_deadline),
		check_test(test_a_follower_that_leaves_or_speaks_is_forgotten),
		check_test(test_a_follower_that_does_not_read_is_ended),
		check_test(test_no_memory_for_an_event_ends_followers),
		check_test(test_followers_have_a_limit_of_their_own),
		check_test(test_a_client_is_answered_later),
		check_test(test_a_client_that_is_answered_later_takes_no_place),
	};

	return cmocka_run_group_tests_name("control: followers", tests, NULL, NULL);
}
