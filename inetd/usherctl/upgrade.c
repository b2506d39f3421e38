/* SPDX-License-Identifier: MIT */
/*
 * usherctl upgrade: usherd becomes the program that is installed now, without letting go of
 * anything.
 *
 * The program is tried first, by a process of ours, because usherd itself starts none: it gets the
 * state of the running usherd on its standard input and says whether it can go on from there. Which
 * program that is only usherd knows: so it is run without our rights, and told nothing else.
 */
#include "client.h"
#include "commands.h"
#include "fd.h"
#include "privilege.h"
#include "request.h"
#include "succession.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* usherd reloads, writes its state, and the new program reads it. */
#define UPGRADE_TIMEOUT_SECONDS 120

/* More than all errors that a configuration is told to have. */
#define WORDS_MAX 32768

/* Returns a descriptor to read `state` from, given away, or a negative errno. */
static int open_state(const json_t *state)
{
	_cleanup_close_ int fd = memfd_create("usherd-state", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (json_dumpfd(state, fd, JSON_COMPACT) < 0)
		return -ENOMEM;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	return take_fd(&fd);
}

/*
 * Be whom usherd runs as, in a session of its own and without our environment. Its word must not be
 * enough for root to run a program, or to let one read or type on root's terminal; and the trial is
 * one only with the same rights.
 */
static int become(const struct ucred *usherd)
{
	const struct passwd *user;
	int r;

	if (geteuid() != 0 || usherd->uid == 0)
		return 0;
	(void)setsid();
	(void)clearenv();
	user = getpwuid(usherd->uid);
	r = privilege_begin(user ? user->pw_name : "", usherd->uid, usherd->gid);
	return r < 0 ? r : privilege_drop(false);
}

/* Have `fd` as number `standard_fd`, for the program that is executed. */
static int place(int fd, int standard_fd)
{
	/* dup2(2) leaves the flag alone if it is there already. */
	return dup2(fd, standard_fd) < 0 || fcntl(standard_fd, F_SETFD, 0) < 0 ? -errno : 0;
}

/* In the child. It has no descriptors but these: others that we have may be anything. */
static int prepare_trial(int state_fd, int words_fd, const struct ucred *usherd)
{
	int r = place(state_fd, STDIN_FILENO);

	if (r >= 0)
		r = place(words_fd, STDOUT_FILENO);
	if (r >= 0)
		r = place(words_fd, STDERR_FILENO);
	(void)close_range(STDERR_FILENO + 1, ~0U, 0); /* Linux 5.9 */
	return r < 0 ? r : become(usherd);
}

__attribute__((noreturn)) static void run_trial(
	const char *program, int state_fd, int words_fd, const struct ucred *usherd)
{
	int r = prepare_trial(state_fd, words_fd, usherd);

	if (r >= 0) {
		execl(program, program, "--check-state", (char *)NULL);
		r = -errno;
	}
	request_print(stderr, "usherctl: cannot run the program: ", strerror(-r));
	_exit(EX_OSERR);
}

/*
 * Print what the program has said, line by line; of one that takes the state not if `is_quiet`.
 * Returns whether it takes the state: that it ended well is not enough, any program may do that.
 */
static bool print_words(int fd, int status, bool is_quiet)
{
	char words[WORDS_MAX + 1], *rest;
	ssize_t length = pread(fd, words, WORDS_MAX, 0);
	bool has_accepted;
	FILE *file;

	words[length > 0 ? length : 0] = '\0';
	has_accepted = status == 0 && strstr(words, SUCCESSION_ACCEPTED);
	if (has_accepted && is_quiet)
		return true;
	file = has_accepted ? stdout : stderr;
	for (char *line = strtok_r(words, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		request_print(file, "", line);
	return has_accepted;
}

/*
 * Let `program` look at the state, and print its words. Returns 0 if it takes it; else its status
 * as of waitpid(2) or, when it could not be asked or is something else, a negative errno.
 */
static int try_program(
	const char *program, const json_t *state, const struct ucred *usherd, bool is_quiet)
{
	_cleanup_close_ int state_fd = open_state(state);
	_cleanup_close_ int words_fd = memfd_create("usherd-words", MFD_CLOEXEC);
	pid_t child;
	int status;

	if (state_fd < 0)
		return state_fd;
	if (words_fd < 0)
		return -errno;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0)
		run_trial(program, state_fd, words_fd, usherd);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (print_words(words_fd, status, is_quiet))
		return 0;
	return status == 0 ? -ENOEXEC : status;
}

static bool is_about_configuration(int status)
{
	return status > 0 && WIFEXITED(status) && WEXITSTATUS(status) == EX_CONFIG;
}

/* `answer` is that to "state". Returns 0 if its program may be upgraded to; else the exit status,
 * and the reason was reported. */
static int try_state(const json_t *answer, const struct ucred *usherd, bool is_quiet)
{
	const char *program = json_string_value(json_object_get(answer, "program"));
	const json_t *state = json_object_get(answer, "state");
	int r = program && state ? try_program(program, state, usherd, is_quiet) : -EBADMSG;

	if (r == 0)
		return 0;
	if (r == -ENOEXEC)
		request_print(stderr, "usherctl: this is no usherd, or too old a one: ", program);
	else if (r < 0)
		fprintf(stderr, "usherctl: the new program cannot be tried: %s\n", strerror(-r));
	else if (!is_about_configuration(r))
		request_print(
			stderr, "usherctl: the running usherd cannot be upgraded to ", program);
	fprintf(stderr, "usherctl: usherd was not asked to upgrade: nothing was changed\n");
	return is_about_configuration(r) ? EX_CONFIG : EXIT_FAILURE;
}

/* The answer comes from the new program, on the connection that the old one has left to it. */
static int ask_upgrade(const struct options *options)
{
	json_t *answer = NULL;
	int r = client_ask(options->run_dir, "upgrade", UPGRADE_TIMEOUT_SECONDS, &answer, NULL);

	if (r == -ECONNRESET) {
		fprintf(stderr,
			"usherctl: usherd ended during the upgrade; its log says why "
			"('journalctl -u usherd'), and 'usherctl status' whether it runs again\n");
		return EXIT_FAILURE;
	}
	r = request_conclude(options, r, answer, &answer);
	if (r == 0)
		request_print_message(options, answer);
	return r;
}

int command_upgrade(const struct options *options, char **arguments)
{
	struct ucred usherd = {0};
	json_t *answer = NULL;
	int r = client_ask(options->run_dir, "state", CLIENT_TIMEOUT_SECONDS, &answer, &usherd);

	(void)arguments;
	r = request_conclude(options, r, answer, &answer);
	if (r > 0)
		return r;
	r = try_state(answer, &usherd, options->is_json);
	json_decref(answer);
	return r > 0 ? r : ask_upgrade(options);
}
