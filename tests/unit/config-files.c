/* SPDX-License-Identifier: MIT */
/* Configurations for tests: see config-files.h. */
#include "config-files.h"

#include "test.h"
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/usher-config-XXXXXX";

int config_files_begin(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int config_files_end(void **state)
{
	(void)state;
	return chdir("/") == 0 ? nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

static void make_folders(const char *file)
{
	char *path = strdup(file);

	assert_non_null(path);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
		*slash = '/';
	}
	free(path);
}

void write_config(const char *file, const char *text)
{
	FILE *stream;

	make_folders(file);
	assert_true(unlink(file) == 0 || errno == ENOENT);
	stream = fopen(file, "we");
	assert_non_null(stream);
	assert_true(fputs(text, stream) >= 0);
	assert_int_equal(fchmod(fileno(stream), 0644), 0);
	assert_int_equal(fclose(stream), 0);
}

char *read_text(const char *file)
{
	FILE *stream = fopen(file, "re");
	char *text = NULL;
	size_t size = 0;

	if (!stream)
		fail_msg("%s: %s", file, strerror(errno));
	assert_true(getdelim(&text, &size, '\0', stream) >= 0);
	assert_int_equal(fclose(stream), 0);
	return text;
}

struct config *load_file(const char *file)
{
	struct config_errors errors = {0};
	struct config *config = NULL;

	if (config_load(file, 0, &config, &errors) != 0)
		fail_msg("%s", errors.n_lines > 0 ? errors.lines[0] : "no error line");
	assert_int_equal(errors.n_lines, 0);
	config_errors_done(&errors);
	return config;
}

struct config *load_text(const char *text)
{
	write_config("c.conf", text);
	return load_file("c.conf");
}

void check_errors_of_file(const char *file, uint64_t fd_limit, const char *expected)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	char *lines = NULL;
	size_t size;
	FILE *stream = open_memstream(&lines, &size);

	assert_non_null(stream);
	assert_int_equal(config_load(file, fd_limit, &config, &errors), -EINVAL);
	assert_null(config);
	for (size_t i = 0; i < errors.n_lines; i++)
		fprintf(stream, "%s\n", errors.lines[i]);
	assert_int_equal(fclose(stream), 0);
	assert_string_equal(lines, expected);
	free(lines);
	config_errors_done(&errors);
}

void check_errors(const char *text, const char *expected)
{
	write_config("c.conf", text);
	check_errors_of_file("c.conf", 0, expected);
}
