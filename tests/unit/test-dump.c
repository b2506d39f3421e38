/* SPDX-License-Identifier: MIT */
/* dump: a whole file or none, whatever is in its place and whatever the disk does. */
#include "dump.h"
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENOUGH_USEC (10 * UINT64_C(1000000))

static int write_error;
static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER; /* held: it hangs */

ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n)
{
	pthread_mutex_lock(&disk);
	pthread_mutex_unlock(&disk);
	if (write_error == 0)
		return __real_write(fd, bytes, n);
	errno = write_error;
	return -1;
}

static struct dump *open_dump(void)
{
	struct dump *dump;

	write_error = 0;
	assert_int_equal(dump_new(&dump, in_folder("."), "dump"), 0);
	return dump;
}

static const char *contents(void)
{
	static char text[256];
	FILE *file = fopen(in_folder("dump"), "re");

	if (!file)
		return NULL;
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

static void test_file_is_replaced(void **state)
{
	struct dump *dump = open_dump();
	struct stat status;

	(void)state;
	assert_null(contents());
	assert_int_equal(dump_write(dump, strdup("first, and longer\n")), 0);
	dump_free(dump, ENOUGH_USEC);
	dump = open_dump();
	assert_int_equal(dump_write(dump, strdup("second\n")), 0);
	dump_free(dump, ENOUGH_USEC);
	assert_string_equal(contents(), "second\n");
	assert_int_equal(stat(in_folder("dump"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	assert_int_equal(access(in_folder("dump.new"), F_OK), -1);
	assert_int_equal(n_logged("the state was written to "), 2);
}

/* Neither is followed. */
static void test_links_are_replaced(void **state)
{
	struct dump *dump = open_dump();

	(void)state;
	assert_int_equal(symlink(in_folder("victim"), in_folder("dump")), 0);
	assert_int_equal(symlink(in_folder("victim"), in_folder("dump.new")), 0);
	assert_int_equal(dump_write(dump, strdup("text\n")), 0);
	dump_free(dump, ENOUGH_USEC);
	assert_int_equal(access(in_folder("victim"), F_OK), -1);
	assert_string_equal(contents(), "text\n");
}

static void test_full_disk_leaves_the_old_file(void **state)
{
	struct dump *dump = open_dump();

	(void)state;
	assert_int_equal(dump_write(dump, strdup("old\n")), 0);
	dump_free(dump, ENOUGH_USEC);
	dump = open_dump();
	write_error = ENOSPC;
	assert_int_equal(dump_write(dump, strdup("new\n")), 0);
	dump_free(dump, ENOUGH_USEC);
	assert_string_equal(contents(), "old\n");
	assert_int_equal(access(in_folder("dump.new"), F_OK), -1);
	assert_int_equal(n_logged("No space left on device"), 1);
}

/* One is being written and one waits: there is no room for a third. */
static void test_disk_that_hangs_holds_up_nobody(void **state)
{
	struct dump *dump = open_dump();
	int r = 0;

	(void)state;
	pthread_mutex_lock(&disk);
	for (int i = 0; i < 3 && r == 0; i++)
		r = dump_write(dump, strdup("text\n"));
	assert_int_equal(r, -EBUSY);
	pthread_mutex_unlock(&disk);
	dump_free(dump, ENOUGH_USEC);
	assert_string_equal(contents(), "text\n");
}

static void test_nothing_is_made_until_it_is_asked_for(void **state)
{
	struct dump *dump = open_dump();

	(void)state;
	assert_null(dump_free(dump, ENOUGH_USEC));
	assert_null(contents());
	assert_null(dump_free(NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_file_is_replaced),
		check_loop_test(test_links_are_replaced),
		check_loop_test(test_full_disk_leaves_the_old_file),
		check_loop_test(test_disk_that_hangs_holds_up_nobody),
		check_loop_test(test_nothing_is_made_until_it_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
