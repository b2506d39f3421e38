/* SPDX-License-Identifier: MIT */
/* A real event loop for tests: see loop.h. */
#include "loop.h"

#include "log.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_USEC  (10 * UINT64_C(1000000))
#define MOMENT_USEC    (3 * UINT64_C(1000)) /* longer than usherd lets anything wait that is ready */
#define NEVER_USEC     (3600 * UINT64_C(1000000)) /* not before the test is over */
#define MAX_TURNS      2000 /* of a loop that has something to do: more is spinning */
#define MAX_LOG	       256
#define MAX_LOG_LENGTH 512

sd_event *loop;
uint64_t loop_hurry, loop_last_delay_usec;

static char folder[64];
static char log_lines[MAX_LOG][MAX_LOG_LENGTH];
static unsigned int n_log_lines;

void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
int __real_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __real_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);
int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);

void __wrap_log_write(int priority, const struct log_about *about, const char *format, ...)
{
	va_list arguments;

	(void)priority, (void)about;
	assert_true(n_log_lines < MAX_LOG);
	va_start(arguments, format);
	vsnprintf(log_lines[n_log_lines++], MAX_LOG_LENGTH, format, arguments);
	va_end(arguments);
}

static uint64_t hurried(uint64_t usec)
{
	return loop_hurry == 0 ? NEVER_USEC : usec / loop_hurry;
}

/* The accuracy is the finest: what a test waits for need not come together with other events. */
int __wrap_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata)
{
	(void)accuracy;
	loop_last_delay_usec = usec;
	return __real_sd_event_add_time_relative(
		event, ret, clock, hurried(usec), 1, callback, userdata);
}

int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec)
{
	loop_last_delay_usec = usec;
	(void)sd_event_source_set_time_accuracy(source, 1);
	return __real_sd_event_source_set_time_relative(source, hurried(usec));
}

int loop_test_begin(void **state)
{
	n_log_lines = 0;
	loop_hurry = 1;
	loop_last_delay_usec = 0;
	strcpy(folder, "/tmp/usher-loop-XXXXXX");
	if (test_begin(state) < 0 || !mkdtemp(folder))
		return -1;
	return sd_event_new(&loop) < 0 ? -1 : 0;
}

static void remove_folder(void)
{
	DIR *dir = opendir(folder);

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	(void)rmdir(folder);
}

int loop_test_end(void **state)
{
	loop = sd_event_unref(loop);
	remove_folder();
	return test_end(state);
}

const char *in_folder(const char *name)
{
	static char paths[4][256];
	static unsigned int i;
	char *path = paths[i++ % 4];

	snprintf(path, sizeof(*paths), "%s/%s", folder, name);
	return path;
}

void turn(void)
{
	int r = sd_event_run(loop, PATIENCE_USEC);

	if (r == 0)
		fail_msg("nothing happened for ten seconds");
	assert_true(r > 0);
}

unsigned int turn_while_ready(void)
{
	uint64_t moment_usec = loop_hurry == 0 ? 0 : hurried(MOMENT_USEC);
	unsigned int n = 0;

	for (int r; (r = sd_event_run(loop, moment_usec)) != 0; n++) {
		assert_true(r > 0);
		if (n == MAX_TURNS)
			fail_msg("the loop spins");
	}
	return n;
}

unsigned int n_logged(const char *text)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < n_log_lines; i++)
		n += strstr(log_lines[i], text) != NULL;
	return n;
}

static int on_passed(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	*(bool *)userdata = true;
	return 0;
}

void let_pass(uint64_t usec)
{
	sd_event_source *timer;
	bool has_passed = false;

	assert_true(__real_sd_event_add_time_relative(loop, &timer, CLOCK_MONOTONIC,
			    usec / loop_hurry, 1, on_passed, &has_passed) >= 0);
	turn_until(has_passed);
	sd_event_source_disable_unref(timer);
}
