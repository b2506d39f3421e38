/* SPDX-License-Identifier: MIT */
/* The control socket: answers that are made part by part, as the client takes them. */
#include "control.h"
#include "fd.h"
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define PART_SIZE (1u << 20) /* more than a socket holds */

static struct control *control;
static int n_parts, n_made, n_done; /* how many there are to be, ... */

static char *next(void *userdata, size_t *ret_size)
{
	char *part;

	assert_ptr_equal(userdata, &n_parts);
	if (n_made == n_parts)
		return NULL;
	part = malloc(PART_SIZE);
	assert_non_null(part);
	memset(part, 'a' + n_made++, PART_SIZE);
	*ret_size = PART_SIZE;
	return part;
}

static void done(void *userdata)
{
	assert_ptr_equal(userdata, &n_parts);
	n_done++;
}

static const struct control_parts parts = {.next = next, .done = done};

static json_t *on_request(const char *request, int client_fd, void *unused)
{
	(void)unused;
	if (strcmp(request, "parts") != 0)
		return json_object();
	control_answer_in_parts(control, client_fd, &parts, &n_parts);
	return json_object(); /* is dropped */
}

static int ask(const char *request)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, in_folder("control.sock"));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_true(send(fd, request, strlen(request), 0) > 0);
	return fd;
}

static void begin(int n)
{
	n_parts = n;
	n_made = n_done = 0;
	assert_int_equal(
		control_new(&control, loop, in_folder("control.sock"), -EBADF, on_request, NULL),
		0);
}

/* Read everything while the loop turns. Returns how many bytes, which are those of the parts. */
static size_t receive_all(int fd)
{
	char buffer[8192];
	size_t size = 0;
	ssize_t n;

	while ((n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) != 0) {
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			assert_true(sd_event_run(loop, 1000000) >= 0);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buffer[i], 'a' + (int)(size++ / PART_SIZE));
	}
	return size;
}

static void test_client_gets_all_parts_and_the_end(void **state)
{
	int fd;

	(void)state;
	begin(5);
	fd = ask("parts\n");
	assert_int_equal(receive_all(fd), 5 * PART_SIZE);
	assert_int_equal(n_done, 1);
	close_fd(fd);
	control_free(control);
}

static void test_part_is_made_when_the_one_before_is_taken(void **state)
{
	int fd, other;
	char answer[8] = "";

	(void)state;
	begin(5);
	fd = ask("parts\n");
	(void)turn_while_ready();
	assert_int_equal(n_made, 1);
	other = ask("else\n"); /* is answered meanwhile */
	(void)turn_while_ready();
	assert_int_equal(recv(other, answer, sizeof(answer), MSG_DONTWAIT), 3);
	assert_int_equal(n_made, 1);
	close_fd(other);
	assert_int_equal(receive_all(fd), 5 * PART_SIZE);
	close_fd(fd);
	control_free(control);
}

static void test_nothing_is_made_for_who_has_gone(void **state)
{
	int fd;

	(void)state;
	begin(5);
	fd = ask("parts\n");
	(void)turn_while_ready();
	close_fd(fd);
	(void)turn_while_ready();
	assert_int_equal(n_done, 1);
	assert_true(n_made < 5);
	fd = ask("parts\n");
	(void)turn_while_ready();
	control_free(control);
	assert_int_equal(n_done, 2);
	close_fd(fd);
}

static void test_no_first_part_is_the_end(void **state)
{
	int fd;

	(void)state;
	begin(0);
	fd = ask("parts\n");
	assert_int_equal(receive_all(fd), 0);
	assert_int_equal(n_done, 1);
	close_fd(fd);
	control_free(control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_client_gets_all_parts_and_the_end),
		check_loop_test(test_part_is_made_when_the_one_before_is_taken),
		check_loop_test(test_nothing_is_made_for_who_has_gone),
		check_loop_test(test_no_first_part_is_the_end),
	};

	return cmocka_run_group_tests_name("control-parts", tests, NULL, NULL);
}
