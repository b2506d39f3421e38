/* SPDX-License-Identifier: MIT */
/*
 * The log, to whom the same thing is said too often: that the number of what was left out is told
 * when its time is over, though nothing more is said.
 *
 * Time is the test's: the monotonic clock stands, and the alarm of the log's thread is rung by
 * hand.
 */
#include "fd.h"
#include "log-destination.h"
#include "log-limit.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LONG_ENOUGH_USEC (30 * UINT64_C(1000000))
#define HOUR_USEC	 UINT64_C(3600000000)

static uint64_t now_usec, begin_usec; /* of each test an hour later: the log remembers */
static pthread_t tester;

/* The writer's waiting for its alarm. */
static struct {
	pthread_mutex_t *lock;
	pthread_cond_t *condition;
	uint64_t at_usec;
	bool is_ringing;
	sem_t is_set; /* posted each time */
	sem_t is_off; /* posted whenever the writer sleeps without one */
} alarm_of_writer;

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, ret);
	ret->tv_sec = (time_t)(now_usec / 1000000);
	ret->tv_nsec = (long)(now_usec % 1000000) * 1000;
	return 0;
}

int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
	sem_post(&alarm_of_writer.is_off);
	return __real_pthread_cond_wait(condition, lock);
}

int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *condition, pthread_mutex_t *lock, const struct timespec *deadline)
{
	if (pthread_equal(pthread_self(), tester)) /* for the end of the writer: it comes */
		return __real_pthread_cond_wait(condition, lock);
	alarm_of_writer.condition = condition;
	alarm_of_writer.lock = lock;
	alarm_of_writer.at_usec =
		(uint64_t)deadline->tv_sec * 1000000 + (uint64_t)deadline->tv_nsec / 1000;
	sem_post(&alarm_of_writer.is_set);
	__real_pthread_cond_wait(condition, lock);
	if (!alarm_of_writer.is_ringing)
		return 0;
	alarm_of_writer.is_ringing = false;
	return ETIMEDOUT;
}

/* It is set, its time comes, and what is to be done then is done. */
static void ring_at(uint64_t at_usec)
{
	do
		sem_wait(&alarm_of_writer.is_set);
	while (alarm_of_writer.at_usec != at_usec);
	pthread_mutex_lock(alarm_of_writer.lock);
	now_usec = at_usec;
	while (sem_trywait(&alarm_of_writer.is_off) == 0) {
	}
	alarm_of_writer.is_ringing = true;
	pthread_cond_signal(alarm_of_writer.condition);
	pthread_mutex_unlock(alarm_of_writer.lock);
	sem_wait(&alarm_of_writer.is_off);
}

static char path[64];

static void begin(void)
{
	strcpy(path, "/tmp/usher-test-log-XXXXXX");
	close_fd(mkstemp(path));
	tester = pthread_self();
	begin_usec += HOUR_USEC;
	now_usec = begin_usec;
	sem_init(&alarm_of_writer.is_set, 0, 0);
	sem_init(&alarm_of_writer.is_off, 0, 0);
	assert_int_equal(log_open(LOG_TO_FILE, path), 0);
}

/* How many lines have `text`. */
static unsigned int count(const char *text)
{
	FILE *file = fopen(path, "re");
	char line[512];
	unsigned int n = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, text) != NULL;
	fclose(file);
	return n;
}

static void end(void)
{
	log_close(LONG_ENOUGH_USEC);
	unlink(path);
}

static void say(const char *reason, unsigned int n)
{
	while (n--)
		log_write(LOG_WARNING, &(struct log_about){.service = "web", .reason = reason},
			"message");
}

static void refuse(struct log_destination *to, unsigned int n)
{
	while (n--)
		log_write_event(to, LOG_NOTICE,
			&(struct log_about){.event = "refused",
				.service = "web",
				.peer = "192.0.2.1",
				.reason = "per_source"});
}

#define MORE " more messages with the reason protocol were left out [service=web reason=protocol "

static void test_number_is_told_when_its_time_is_over(void **state)
{
	(void)state;
	begin();
	say("protocol", LOG_LIMIT_BURST + 7);
	ring_at(begin_usec + LOG_LIMIT_USEC);
	assert_int_equal(count("warning: web: 7" MORE "more=7]"), 1);
	say("protocol", 1);
	log_wait(LONG_ENOUGH_USEC);
	assert_int_equal(count("warning: message"), LOG_LIMIT_BURST + 1);
	assert_int_equal(count(MORE), 1);
	end();
}

static void test_end_tells_what_is_left(void **state)
{
	(void)state;
	begin();
	say("protocol", LOG_LIMIT_BURST + 3);
	log_close(LONG_ENOUGH_USEC);
	assert_int_equal(count("web: 3" MORE), 1);
	end();
}

/* An upgrade waits for the log, and then is another program. */
static void test_wait_tells_what_is_left(void **state)
{
	(void)state;
	begin();
	say("protocol", LOG_LIMIT_BURST + 3);
	log_wait(LONG_ENOUGH_USEC);
	assert_int_equal(count("web: 3" MORE), 1);
	end();
}

static void test_refusals_are_counted_for_longer(void **state)
{
	(void)state;
	begin();
	refuse(NULL, LOG_LIMIT_BURST + 5);
	ring_at(begin_usec + LOG_LIMIT_EVENT_USEC);
	assert_int_equal(count("event=refused service=web peer=192.0.2.1"), LOG_LIMIT_BURST);
	assert_int_equal(count("event=refused service=web reason=per_source more=5"), 1);
	end();
}

/* The number goes where the refusals have gone, though who wrote them is gone. */
static void test_number_of_refusals_has_their_destination(void **state)
{
	struct log_destination *to;
	char elsewhere[64] = "/tmp/usher-test-log-XXXXXX";

	(void)state;
	begin();
	close_fd(mkstemp(elsewhere));
	assert_int_equal(log_destination_new_file(&to, elsewhere, 0, 0), 0);
	refuse(to, LOG_LIMIT_BURST + 5);
	log_destination_unref(to);
	end();
	strcpy(path, elsewhere);
	assert_int_equal(count("event=refused"), LOG_LIMIT_BURST + 1);
	assert_int_equal(count("reason=per_source more=5"), 1);
	unlink(elsewhere);
}

static void test_successes_are_not_limited(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 300; i++)
		log_write_event(
			NULL, LOG_INFO, &(struct log_about){.event = "start", .service = "web"});
	log_wait(LONG_ENOUGH_USEC);
	assert_int_equal(count("event=start service=web"), 300);
	end();
}

/* In a folder that is gone. */
static struct log_destination *make_lost_destination(void)
{
	char folder[64] = "/tmp/usher-test-log-XXXXXX", file[80];
	struct log_destination *to;

	assert_non_null(mkdtemp(folder));
	snprintf(file, sizeof(file), "%s/log", folder);
	assert_int_equal(log_destination_new_file(&to, file, 0, 0), 0);
	unlink(file);
	rmdir(folder);
	return to;
}

static const struct log_about started = {.event = "start", .service = "web"};

/* Each client of a service whose file cannot be written loses an event. */
static void test_losses_are_told_now_and_then(void **state)
{
	struct log_destination *to = make_lost_destination();

	(void)state;
	begin();
	for (uint64_t n = log_n_dropped(), last = n + 100; n < last; n++) {
		log_write_event(to, LOG_INFO, &started);
		while (log_n_dropped() == n)
			sched_yield();
	}
	ring_at(begin_usec + LOG_LIMIT_USEC);
	assert_int_equal(count("messages dropped: "), 2);
	assert_int_equal(count("messages dropped: 1 ("), 1);
	assert_int_equal(count("messages dropped: 99 ("), 1);
	assert_int_equal(count("cannot write to "), 1);
	log_destination_unref(to);
	end();
}

/* Though it is the thread itself that says it, when nobody else may say anything. */
static void test_losses_at_the_end_are_told(void **state)
{
	struct log_destination *to = make_lost_destination();

	(void)state;
	begin();
	for (int i = 0; i < 500; i++)
		log_write_event(NULL, LOG_INFO, &started);
	log_write_event(to, LOG_INFO, &started);
	log_close(LONG_ENOUGH_USEC);
	assert_int_equal(count("event=start"), 500);
	assert_int_equal(count("cannot write to "), 1);
	assert_int_equal(count("messages dropped: 1 ("), 1);
	log_destination_unref(to);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_number_is_told_when_its_time_is_over),
		check_test(test_end_tells_what_is_left),
		check_test(test_wait_tells_what_is_left),
		check_test(test_refusals_are_counted_for_longer),
		check_test(test_number_of_refusals_has_their_destination),
		check_test(test_successes_are_not_limited),
		check_test(test_losses_are_told_now_and_then),
		check_test(test_losses_at_the_end_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
