/* SPDX-License-Identifier: MIT */
/* What becomes of a `usherd --programs`, which is a shell script here, whatever it does. */
#include "loader.h"
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the place of LOADER_MAX_USEC. */
static uint64_t deadline_usec;

int __wrap_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);
int __real_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata);

int __wrap_sd_event_add_time_relative(sd_event *event, sd_event_source **ret, clockid_t clock,
	uint64_t usec, uint64_t accuracy, sd_event_time_handler_t callback, void *userdata)
{
	assert_int_equal(usec, LOADER_MAX_USEC);
	return __real_sd_event_add_time_relative(
		event, ret, clock, deadline_usec, accuracy, callback, userdata);
}

struct world {
	char folder[32], script[48];
	sd_event *event;
	struct loader *loader;
	int n_loaded;
	bool has_json;
	char why[256];
	int exit_status;
};

static void on_loaded(json_t *json, const char *why, int exit_status, void *userdata)
{
	struct world *world = userdata;

	world->n_loaded++;
	world->has_json = json != NULL;
	snprintf(world->why, sizeof(world->why), "%s", why ? why : "");
	world->exit_status = exit_status;
}

static void write_script(struct world *world, const char *text)
{
	FILE *file = fopen(world->script, "w");

	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\n%s\n", text) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(world->script, 0700), 0);
}

static void world_init(struct world *world, const char *text)
{
	*world = (struct world){.folder = "/tmp/usher-test-XXXXXX"};
	deadline_usec = LOADER_MAX_USEC;
	assert_non_null(mkdtemp(world->folder));
	snprintf(world->script, sizeof(world->script), "%s/usherd", world->folder);
	write_script(world, text);
	assert_int_equal(sd_event_new(&world->event), 0);
	assert_int_equal(loader_new(&world->loader, world->event, world->script, "/a/config",
				 on_loaded, world),
		0);
}

static bool has_child(void)
{
	return waitid(P_ALL, 0, &(siginfo_t){0}, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void world_done(struct world *world)
{
	loader_free(world->loader);
	sd_event_unref(world->event);
	assert_false(has_child());
	assert_int_equal(unlink(world->script), 0);
	assert_int_equal(rmdir(world->folder), 0);
}

static void wait_loaded(struct world *world, int n)
{
	while (world->n_loaded < n)
		assert_true(sd_event_run(world->event, UINT64_MAX) >= 0);
	assert_int_equal(world->n_loaded, n);
}

/* Of one script. */
static void load(struct world *world, const char *text)
{
	world_init(world, text);
	loader_start(world->loader);
	wait_loaded(world, 1);
}

static void check_failure(const char *text, const char *why, int exit_status)
{
	struct world world;

	load(&world, text);
	assert_false(world.has_json);
	if (!strstr(world.why, why))
		fail_msg("no '%s' in '%s'", why, world.why);
	assert_int_equal(world.exit_status, exit_status);
	world_done(&world);
}

static void test_what_it_prints(void **state)
{
	struct world world;

	(void)state;
	load(&world, "[ \"$*\" = '--programs -c /a/config' ] && echo '{}'");
	assert_true(world.has_json);
	assert_int_equal(world.exit_status, 0);
	world_done(&world);
}

static void test_failures(void **state)
{
	(void)state;
	check_failure("exit 78", "has ended with status 78: correct what it has complained", 78);
	check_failure("echo '{}'; exit 3", "has ended with status 3", 3);
	check_failure("kill -9 $$", "was killed", 71);
	check_failure("echo '{'", "prints no JSON", 71);
	check_failure("exec cat /dev/zero", "File too large", 71);
}

/* The loop goes on meanwhile: else the deadline would not come. */
static void test_one_that_closes_its_output_and_stays_is_killed(void **state)
{
	struct world world;

	(void)state;
	world_init(&world, "echo '{}'; exec tail -f /dev/null >/dev/null");
	deadline_usec = 50000;
	loader_start(world.loader);
	wait_loaded(&world, 1);
	assert_non_null(strstr(world.why, "has not ended in 60 seconds"));
	assert_int_equal(world.exit_status, 71);
	loader_start(world.loader); /* after the end of the one that was killed */
	deadline_usec = LOADER_MAX_USEC;
	write_script(&world, "echo '{}'");
	wait_loaded(&world, 2);
	assert_true(world.has_json);
	world_done(&world);
}

static void test_once_more_after_this_one(void **state)
{
	struct world world;

	(void)state;
	world_init(&world, "echo '{}'");
	for (int i = 0; i < 3; i++)
		loader_start(world.loader);
	wait_loaded(&world, 2);
	assert_int_equal(sd_event_run(world.event, 0), 0);
	assert_int_equal(world.n_loaded, 2);
	world_done(&world);
}

static void test_the_end_while_one_runs(void **state)
{
	struct world world;

	(void)state;
	world_init(&world, "exec tail -f /dev/null");
	loader_start(world.loader);
	world_done(&world);
	assert_int_equal(world.n_loaded, 0);
}

static void test_there_is_none(void **state)
{
	struct world world;

	(void)state;
	world_init(&world, "");
	assert_int_equal(chmod(world.script, 0600), 0);
	loader_start(world.loader);
	assert_int_equal(world.n_loaded, 1);
	assert_non_null(strstr(world.why, "cannot run"));
	assert_int_equal(world.exit_status, 71);
	world_done(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_test(test_what_it_prints),
		check_test(test_failures),
		check_test(test_one_that_closes_its_output_and_stays_is_killed),
		check_test(test_once_more_after_this_one),
		check_test(test_the_end_while_one_runs),
		check_test(test_there_is_none),
	};

	return cmocka_run_group_tests_name("exec: loader", tests, NULL, NULL);
}
