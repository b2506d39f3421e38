/* SPDX-License-Identifier: MIT */
/*
 * usherctl upgrade: usherd becomes the program that is installed now, without letting go of
 * anything.
 *
 * The program is tried first, by a process of ours, because usherd itself starts none: it gets the
 * state of the running usherd on its standard input and says whether it can go on from there.
 */
#include "client.h"
#include "fd.h"
#include "privilege.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* usherd reloads, writes its state, and the new program reads it. */
#define UPGRADE_TIMEOUT_SECONDS 120

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
 * Be whom usherd runs as, in a session of its own. Its word must not be enough for root to run a
 * program, or to let one type on root's terminal (TIOCSTI of ioctl_tty(2)); and the trial is one
 * only with the same rights.
 */
static int become(const struct ucred *usherd)
{
	const struct passwd *user;
	int r;

	if (geteuid() != 0 || usherd->uid == 0)
		return 0;
	(void)setsid();
	user = getpwuid(usherd->uid);
	r = privilege_begin(user ? user->pw_name : "", usherd->uid, usherd->gid);
	return r < 0 ? r : privilege_drop();
}

/* In the child. */
__attribute__((noreturn)) static void run_trial(
	const char *program, int state_fd, const struct ucred *usherd)
{
	int r = become(usherd);

	if (r >= 0 && dup2(state_fd, STDIN_FILENO) >= 0 &&
		fcntl(STDIN_FILENO, F_SETFD, 0) >= 0) /* dup2(2) does not if it is there already */
		execl(program, program, "--check-state", (char *)NULL);
	request_print(stderr, "usherctl: cannot run the program: ", strerror(r < 0 ? -r : errno));
	_exit(EX_OSERR);
}

/* Let `program` look at the state. Returns 0 if it takes it, else a positive number or, when it
 * could not be asked, a negative errno. */
static int try_program(const char *program, const json_t *state, const struct ucred *usherd)
{
	_cleanup_close_ int state_fd = open_state(state);
	pid_t child;
	int status;

	if (state_fd < 0)
		return state_fd;
	child = fork();
	if (child < 0)
		return -errno;
	if (child == 0)
		run_trial(program, state_fd, usherd);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status;
}

/* `answer` is that to "state". Returns 0 if its program may be upgraded to; else the exit status,
 * and the reason was reported. */
static int try_state(const json_t *answer, const struct ucred *usherd)
{
	const char *program = json_string_value(json_object_get(answer, "program"));
	const json_t *state = json_object_get(answer, "state");
	int r = program && state ? try_program(program, state, usherd) : -EBADMSG;

	if (r == 0)
		return 0;
	if (r < 0)
		fprintf(stderr, "usherctl: the new program cannot be tried: %s\n", strerror(-r));
	else
		request_print(stderr, "usherctl: the state of usherd was refused by ", program);
	fprintf(stderr, "usherctl: usherd was not asked to upgrade: nothing was changed\n");
	return EXIT_FAILURE;
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
		request_print_message(answer);
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
	r = try_state(answer, &usherd);
	json_decref(answer);
	return r > 0 ? r : ask_upgrade(options);
}
