/* SPDX-License-Identifier: MIT */
/* Followers of events, quick and slow ones. They live in the same thread; the event loop turns in
 * between. */
#include "events.h"
#include "fd.h"
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FOLLOWING    "{\"event\":\"following\"}\n"
#define SOCKET_BYTES (8 << 20)

static const struct events_wish everything;

struct fixture {
	sd_event *loop;
	struct events *events;
	char text[SOCKET_BYTES];
};

static struct fixture *begin(void)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	assert_int_equal(sd_event_new(&fixture->loop), 0);
	assert_int_equal(events_new(&fixture->events, fixture->loop), 0);
	return fixture;
}

static void end(struct fixture *fixture)
{
	assert_null(events_free(fixture->events));
	sd_event_unref(fixture->loop);
	free(fixture);
}

/* Let our side do all that it can do now, sooner or later. */
static void turn(struct fixture *fixture)
{
	while (sd_event_source_get_enabled(fixture->events->timer, NULL) != 0)
		assert_true(sd_event_run(fixture->loop, UINT64_MAX) > 0);
	while (sd_event_run(fixture->loop, 0) > 0)
		;
}

/* What is there to read; "END" when the connection is over. */
static const char *hear(struct fixture *fixture, int fd)
{
	size_t length = 0;
	ssize_t n;

	while ((n = recv(fd, fixture->text + length, sizeof(fixture->text) - 1 - length,
			MSG_DONTWAIT)) > 0)
		length += (size_t)n;
	fixture->text[length] = '\0';
	return n == 0 && length == 0 ? "END" : fixture->text;
}

/* The end of a new connection that is the follower's. */
static int follow(struct fixture *fixture, const struct events_wish *wish)
{
	int fds[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	assert_int_equal(events_follow(fixture->events, fds[1], wish), 0);
	assert_string_equal(hear(fixture, fds[0]), FOLLOWING);
	return fds[0];
}

static void tell(struct fixture *fixture, const char *event, const char *service)
{
	events_tell(fixture->events, &(struct log_about){.event = event, .service = service});
}

/* "start web, end": the events and services of the lines that were heard. */
static const char *words(const char *lines)
{
	static char text[512];
	size_t length = 0;

	*text = '\0';
	for (const char *at = lines; (at = strstr(at, "{\"event\":\"")); at++) {
		const char *service = strstr(at, "\"service\":\""), *next = strchr(at, '\n');
		int event_length = (int)strcspn(at + strlen("{\"event\":\""), "\"");

		assert_non_null(next);
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%.*s",
			length > 0 ? ", " : "", event_length, at + strlen("{\"event\":\""));
		if (service && service < next)
			length += (size_t)snprintf(text + length, sizeof(text) - length, " %.*s",
				(int)strcspn(service + strlen("\"service\":\""), "\""),
				service + strlen("\"service\":\""));
	}
	return text;
}

static void test_all_that_is_known_is_told(void **state)
{
	const struct log_about about = {.event = "end",
		.service = "web",
		.listener = "tcp:80",
		.peer = "192.0.2.1",
		.connection = 7,
		.provider = "web-1",
		.provider_pid = 42,
		.provider_uid = 0,
		.reason = "released",
		.has_duration = true,
		.duration_usec = 1500};
	struct fixture *fixture = begin();
	const char *line;
	int fd = follow(fixture, &everything);

	(void)state;
	events_tell(fixture->events, &about);
	turn(fixture);
	line = hear(fixture, fd);
	assert_ptr_equal(strstr(line, "{\"event\":\"end\",\"time_usec\":1"), line);
	assert_non_null(strstr(line,
		"\"service\":\"web\",\"listener\":\"tcp:80\",\"peer\":\"192.0.2.1\","
		"\"connection\":7,\"provider\":\"web-1\",\"provider_pid\":42,\"provider_uid\":0,"
		"\"reason\":\"released\",\"duration_usec\":1500}\n"));
	close_fd(fd);
	end(fixture);
}

static void test_what_is_not_known_is_left_out(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &everything);

	(void)state;
	events_tell(fixture->events, &(struct log_about){.event = "gone", .provider = "\xff"});
	turn(fixture);
	assert_null(strchr(strchr(hear(fixture, fd), ',') + 1, ',')); /* event and time */
	close_fd(fd);
	end(fixture);
}

static void test_the_longest_texts_fit(void **state)
{
	char text[1000];
	struct fixture *fixture = begin();
	int fd = follow(fixture, &everything);

	(void)state;
	memset(text, '\x01', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	events_tell(fixture->events, &(struct log_about){.event = text,
					     .service = text,
					     .listener = text,
					     .peer = text,
					     .connection = INT64_MAX,
					     .provider = text,
					     .provider_pid = INT32_MAX,
					     .provider_uid = UINT32_MAX,
					     .reason = text,
					     .has_duration = true,
					     .duration_usec = INT64_MAX});
	turn(fixture);
	assert_true(strlen(hear(fixture, fd)) > 6 * 6 * 255);
	close_fd(fd);
	end(fixture);
}

static void test_services_are_chosen_by_name(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &(struct events_wish){.services = "web api"});

	(void)state;
	tell(fixture, "start", "web");
	tell(fixture, "start", "we");
	tell(fixture, "start", "eb");
	tell(fixture, "start", "b a");
	tell(fixture, "end", "api");
	tell(fixture, "end", "apis");
	tell(fixture, "reloaded", NULL);
	turn(fixture);
	assert_string_equal(words(hear(fixture, fd)), "start web, end api, reloaded");
	close_fd(fd);
	end(fixture);
}

static void test_who_wants_reloads_hears_of_nothing_else(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &(struct events_wish){.only_reloads = true});

	(void)state;
	tell(fixture, "start", "web");
	tell(fixture, "upgrading", NULL);
	tell(fixture, "reloaded", NULL);
	turn(fixture);
	assert_string_equal(words(hear(fixture, fd)), "reloaded");
	close_fd(fd);
	end(fixture);
}

static void test_only_who_wants_all_is_worth_the_trouble(void **state)
{
	struct fixture *fixture = begin();
	int reloads_fd, fd;

	(void)state;
	assert_false(events_are_followed(fixture->events));
	reloads_fd = follow(fixture, &(struct events_wish){.only_reloads = true});
	assert_false(events_are_followed(fixture->events));
	fd = follow(fixture, &everything);
	assert_true(events_are_followed(fixture->events));
	close_fd(fd);
	turn(fixture);
	assert_false(events_are_followed(fixture->events));
	close_fd(reloads_fd);
	end(fixture);
}

static void test_who_leaves_or_speaks_is_forgotten(void **state)
{
	struct fixture *fixture = begin();
	int leaver_fd = follow(fixture, &everything), speaker_fd = follow(fixture, &everything);

	(void)state;
	close_fd(leaver_fd);
	assert_int_equal(send(speaker_fd, "x", 1, MSG_NOSIGNAL), 1);
	turn(fixture);
	assert_int_equal(fixture->events->n_followers, 0);
	close_fd(speaker_fd);

	leaver_fd = follow(fixture, &everything);
	tell(fixture, "start", "web");
	close_fd(leaver_fd); /* there is something to send */
	events_flush(fixture->events);
	assert_int_equal(fixture->events->n_followers, 0);
	turn(fixture);
	end(fixture);
}

static void test_flush_does_not_wait_for_more(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &everything);

	(void)state;
	tell(fixture, "upgrading", NULL);
	assert_string_equal(hear(fixture, fd), "");
	events_flush(fixture->events);
	assert_string_equal(words(hear(fixture, fd)), "upgrading");
	close_fd(fd);
	end(fixture);
}

static void test_the_end_does_not_wait_either(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &everything);

	(void)state;
	tell(fixture, "gone", "web");
	end(fixture);
	fixture = begin();
	assert_string_equal(words(hear(fixture, fd)), "gone web");
	assert_string_equal(hear(fixture, fd), "END");
	close_fd(fd);
	end(fixture);
}

static bool answer_so(int fd, void *userdata)
{
	const bool *answer = userdata;

	assert_true(fd >= 0);
	return *answer;
}

static void test_monitors_lose_their_right_and_others_do_not(void **state)
{
	const struct events_wish monitor = {.is_monitor = true};
	struct fixture *fixture = begin();
	int monitor_fd = follow(fixture, &monitor), fd = follow(fixture, &everything);
	bool may_look = true;

	(void)state;
	events_review(fixture->events, answer_so, &may_look);
	assert_int_equal(fixture->events->n_followers, 2);
	may_look = false;
	events_review(fixture->events, answer_so, &may_look);
	assert_string_equal(hear(fixture, monitor_fd), "END");
	assert_string_equal(hear(fixture, fd), "");
	close_fd(monitor_fd);
	close_fd(fd);
	end(fixture);
}

static unsigned int count_lines(const char *lines, unsigned int *ret_lost)
{
	unsigned int n = 0;

	for (const char *at = lines; (at = strchr(at, '\n')); at++)
		n++;
	for (const char *at = lines; (at = strstr(at, "{\"event\":\"lost\",\"n\":")); at++) {
		*ret_lost += (unsigned int)atoi(at + strlen("{\"event\":\"lost\",\"n\":"));
		n--;
	}
	return n;
}

/* Read until nothing comes any more. Adds to the numbers of lines and of those that were lost. */
static void hear_all(struct fixture *fixture, int fd, unsigned int *n_lines, unsigned int *n_lost)
{
	const char *lines;

	do {
		lines = hear(fixture, fd);
		*n_lines += count_lines(lines, n_lost);
		turn(fixture);
	} while (*lines);
}

/* Somebody else hears everything meanwhile. */
static void test_a_slow_reader_loses_lines_and_is_told_how_many(void **state)
{
	enum { N = 40000 };
	struct fixture *fixture = begin();
	unsigned int n_lines = 0, n_lost = 0, n_heard = 0, none = 0;
	int slow_fd = follow(fixture, &everything), fd = follow(fixture, &everything);

	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			tell(fixture, "start", "web");
			if (i % 500 == 0) {
				turn(fixture);
				n_heard += count_lines(hear(fixture, fd), &none);
			}
		}
		turn(fixture);
		n_heard += count_lines(hear(fixture, fd), &none);
		hear_all(fixture, slow_fd, &n_lines, &n_lost);
	}
	assert_int_equal(n_heard, 2 * N);
	assert_int_equal(none, 0);
	assert_int_equal(n_lines + n_lost, 2 * N);
	assert_in_range(n_lost, N, 2 * N); /* a socket's buffer and EVENTS_MAX_BYTES are less */
	close_fd(slow_fd);
	close_fd(fd);
	end(fixture);
}

static void test_who_never_reads_costs_nothing_more(void **state)
{
	struct fixture *fixture = begin();
	int fd = follow(fixture, &everything);

	(void)state;
	for (int i = 0; i < 20000; i++)
		tell(fixture, "start", "web");
	turn(fixture);
	assert_int_equal(sd_event_run(fixture->loop, 10 * EVENTS_GATHER_USEC), 0); /* no wake-up */
	close_fd(fd);
	end(fixture);
}

static void test_there_is_a_limit_and_monitors_have_half(void **state)
{
	const struct events_wish monitor = {.is_monitor = true};
	struct fixture *fixture = begin();
	int fds[EVENTS_MAX_FOLLOWERS];

	(void)state;
	for (int i = 0; i < EVENTS_MAX_FOLLOWERS; i++) {
		assert_int_equal(
			events_have_place(fixture->events, true), i < EVENTS_MAX_FOLLOWERS / 2);
		assert_true(events_have_place(fixture->events, false));
		fds[i] = follow(fixture, i < EVENTS_MAX_FOLLOWERS / 2 ? &monitor : &everything);
	}
	assert_false(events_have_place(fixture->events, false));
	close_fd(fds[0]);
	turn(fixture);
	assert_true(events_have_place(fixture->events, true));
	for (int i = 1; i < EVENTS_MAX_FOLLOWERS; i++)
		close_fd(fds[i]);
	end(fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_all_that_is_known_is_told),
		check_test(test_what_is_not_known_is_left_out),
		check_test(test_the_longest_texts_fit),
		check_test(test_services_are_chosen_by_name),
		check_test(test_who_wants_reloads_hears_of_nothing_else),
		check_test(test_only_who_wants_all_is_worth_the_trouble),
		check_test(test_who_leaves_or_speaks_is_forgotten),
		check_test(test_flush_does_not_wait_for_more),
		check_test(test_the_end_does_not_wait_either),
		check_test(test_monitors_lose_their_right_and_others_do_not),
		check_test(test_a_slow_reader_loses_lines_and_is_told_how_many),
		check_test(test_who_never_reads_costs_nothing_more),
		check_test(test_there_is_a_limit_and_monitors_have_half),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
