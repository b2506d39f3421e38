/* SPDX-License-Identifier: MIT */
/* Who is answered at the control socket, and how many monitors at once. Who somebody is these tests
 * say themselves. */
#include "control.h"
#include "fd.h"
#include "peer.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MONITOR	    4001
#define STRANGER    4002
#define GROUP	    5001
#define OTHER_GROUP 5002

#define MAY_CHANGE  "{\"may_change\":true}\n"
#define MAY_LOOK    "{\"may_change\":false}\n"
#define TOO_MANY                                                                                   \
	"{\"error\":\"too many monitors ask at the same time; try again\",\"exit_status\":75}\n"

struct fixture {
	sd_event *event;
	struct control *control;
	char folder[64];
	char path[128];
	char text[512];
};

/* Who connects next. */
static struct peer_process next;

int __wrap_peer_read(struct peer_process *ret, int fd);

int __wrap_peer_read(struct peer_process *ret, int fd)
{
	(void)fd;
	*ret = next;
	if (next.n_groups == 0)
		return 0;
	ret->groups = malloc(next.n_groups * sizeof(*next.groups)); /* peer_done() frees it */
	assert_non_null(ret->groups);
	memcpy(ret->groups, next.groups, next.n_groups * sizeof(*next.groups));
	return 0;
}

static json_t *on_request(const char *request, int client_fd, void *userdata)
{
	struct fixture *fixture = userdata;

	(void)request;
	return json_pack("{s:b}", "may_change", control_may_change(fixture->control, client_fd));
}

static void begin(struct fixture *fixture)
{
	static uid_t user = MONITOR;
	static gid_t group = GROUP;
	static const struct config_accounts monitors = {
		.users = &user, .n_users = 1, .groups = &group, .n_groups = 1};

	*fixture = (struct fixture){.folder = "/tmp/usher-test-monitors-XXXXXX"};
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/control.sock", fixture->folder);
	assert_int_equal(sd_event_new(&fixture->event), 0);
	assert_int_equal(control_new(&fixture->control, fixture->event, fixture->path, -EBADF,
				 on_request, fixture),
		0);
	control_set_monitors(fixture->control, &monitors);
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

/* A client that has said `request`, which the other side has seen. */
static int connect_as(struct fixture *fixture, uid_t uid, const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	next.uid = uid;
	strcpy(address.sun_path, fixture->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(
		send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	turn(fixture);
	return fd;
}

/* What is there to read. */
static const char *hear(struct fixture *fixture, int fd)
{
	ssize_t n = recv(fd, fixture->text, sizeof(fixture->text) - 1, MSG_DONTWAIT);

	fixture->text[n > 0 ? n : 0] = '\0';
	return fixture->text;
}

static const char *ask_as(struct fixture *fixture, uid_t uid)
{
	int fd = connect_as(fixture, uid, "status\n");
	const char *answer = hear(fixture, fd);

	close_fd(fd);
	return answer;
}

static void test_root_and_our_own_user_may_change(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	assert_string_equal(ask_as(&fixture, 0), MAY_CHANGE);
	assert_string_equal(ask_as(&fixture, geteuid()), MAY_CHANGE);
	end(&fixture);
}

static void test_a_user_that_is_named_may_look(void **state)
{
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	assert_string_equal(ask_as(&fixture, MONITOR), MAY_LOOK);
	assert_non_null(strstr(ask_as(&fixture, STRANGER), "permission denied"));
	end(&fixture);
}

static void test_a_group_that_is_named_may_look(void **state)
{
	gid_t groups[] = {OTHER_GROUP, GROUP};
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	next.gid = GROUP;
	assert_string_equal(ask_as(&fixture, STRANGER), MAY_LOOK);
	next = (struct peer_process){.gid = OTHER_GROUP, .groups = groups, .n_groups = 2};
	assert_string_equal(ask_as(&fixture, STRANGER), MAY_LOOK);
	next.n_groups = 1;
	assert_non_null(strstr(ask_as(&fixture, STRANGER), "permission denied"));
	next = (struct peer_process){0};
	end(&fixture);
}

static void test_others_are_named_later(void **state)
{
	static const struct config_accounts nobody;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	control_set_monitors(fixture.control, &nobody);
	assert_non_null(strstr(ask_as(&fixture, MONITOR), "permission denied"));
	assert_string_equal(ask_as(&fixture, 0), MAY_CHANGE);
	end(&fixture);
}

/* Half of the places stay free for those who may change something. */
static void test_monitors_lock_nobody_out(void **state)
{
	int fds[CONTROL_MAX_CLIENTS - 1], fd;
	struct fixture fixture;

	(void)state;
	begin(&fixture);
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS - 1; i++)
		fds[i] = connect_as(&fixture, i < CONTROL_MAX_CLIENTS / 2 ? MONITOR : 0, "sta");
	assert_string_equal(ask_as(&fixture, 0), MAY_CHANGE);
	fd = connect_as(&fixture, MONITOR, "status\n");
	assert_string_equal(hear(&fixture, fd), TOO_MANY);
	close_fd(fd);

	close_fd(fds[3]); /* a monitor's place is free again */
	turn(&fixture);
	assert_string_equal(ask_as(&fixture, MONITOR), MAY_LOOK);
	fds[3] = connect_as(&fixture, MONITOR, "sta");
	assert_string_equal(ask_as(&fixture, MONITOR), TOO_MANY);
	for (size_t i = 0; i < CONTROL_MAX_CLIENTS - 1; i++)
		close_fd(fds[i]);
	end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_root_and_our_own_user_may_change),
		check_test(test_a_user_that_is_named_may_look),
		check_test(test_a_group_that_is_named_may_look),
		check_test(test_others_are_named_later),
		check_test(test_monitors_lock_nobody_out),
	};

	return cmocka_run_group_tests_name("control: monitors", tests, NULL, NULL);
}
