/* SPDX-License-Identifier: MIT */
/*
 * The log as the journal and syslog get it: their sockets are ours, in a mount namespace of a
 * child. Skipped where such a namespace cannot be had.
 */
#include "fd.h"
#include "log-destination.h"
#include "log.h"
#include "test.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENOUGH_USEC (30 * UINT64_C(1000000))

static const struct log_about about = {
	.service = "echo", .provider_pid = 42, .reason = "protocol", .error = -EPIPE};

/* Run `body` in a child with mounts of its own. Returns whether it could, and `body` was content.
 */
static bool run_in_own_mounts(bool (*body)(void))
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0)
		_exit(unshare(CLONE_NEWNS) < 0 ||
			mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 || !body());
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool mount_tmpfs(void)
{
	return mount("tmpfs", "/run", "tmpfs", 0, NULL) == 0;
}

/* A datagram socket at `path`, on a fresh file system at `mount_point`. */
static int listen_at(const char *mount_point, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (mount("tmpfs", mount_point, "tmpfs", 0, NULL) < 0)
		return close_fd(fd);
	(void)mkdir("/run/systemd", 0755);
	(void)mkdir("/run/systemd/journal", 0755);
	strcpy(address.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return close_fd(fd);
	return fd;
}

/* The next datagram as text; empty if there is none. */
static const char *next_datagram(int fd)
{
	static char text[8192];
	ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

static bool has_all(const char *text, const char *const *parts)
{
	for (; *parts; parts++) {
		if (strstr(text, *parts))
			continue;
		fprintf(stderr, "no \"%s\" in \"%s\"\n", *parts, text);
		return false;
	}
	return true;
}

static bool write_to_journal(void)
{
	static const char *const fields[] = {"MESSAGE=it hung up\n", "PRIORITY=4\n",
		"MESSAGE_ID=9701851b98dc49fcab4263844335ab30\n", "USHER_SERVICE=echo\n",
		"USHER_PROVIDER_PID=42\n", "USHER_REASON=protocol\n", "ERRNO=32\n",
		"SYSLOG_IDENTIFIER=", NULL};
	int fd = listen_at("/run", "/run/systemd/journal/socket");
	const char *text;

	if (fd < 0 || log_open(LOG_TO_JOURNAL, NULL) < 0)
		return false;
	log_write(LOG_WARNING, &about, "it %s", "hung up");
	log_close(ENOUGH_USEC);
	text = next_datagram(fd);
	return has_all(text, fields) && !strstr(text, "CODE_FILE");
}

static void test_journal_gets_named_fields(void **state)
{
	(void)state;
	assert_true(run_in_own_mounts(write_to_journal));
}

static bool write_event_to_journal(void)
{
	static const char *const fields[] = {"MESSAGE=event=start service=echo peer=192.0.2.1\n",
		"PRIORITY=6\n", "USHER_EVENT=start\n", "USHER_SERVICE=echo\n",
		"USHER_PEER=192.0.2.1\n", NULL};
	int fd = listen_at("/run", "/run/systemd/journal/socket");

	if (fd < 0 || log_open(LOG_TO_JOURNAL, NULL) < 0)
		return false;
	log_write_event(NULL, LOG_INFO,
		&(struct log_about){.event = "start", .service = "echo", .peer = "192.0.2.1"});
	log_close(ENOUGH_USEC);
	return has_all(next_datagram(fd), fields);
}

static void test_journal_gets_events_with_named_fields(void **state)
{
	(void)state;
	assert_true(run_in_own_mounts(write_event_to_journal));
}

/* Of its own facility and level, whatever the priority and wherever messages go. */
static bool write_event_to_syslog(void)
{
	static const char *const parts[] = {"<133>", "]: event=start service=echo", NULL};
	int fd = listen_at("/dev", "/dev/log");
	struct log_destination *to;

	if (fd < 0 || log_open(LOG_TO_STDERR, NULL) < 0 ||
		log_destination_new_syslog(&to, LOG_LOCAL0, LOG_NOTICE) < 0)
		return false;
	log_write_event(to, LOG_INFO, &(struct log_about){.event = "start", .service = "echo"});
	log_destination_unref(to);
	log_close(ENOUGH_USEC);
	return has_all(next_datagram(fd), parts) && next_datagram(fd)[0] == '\0';
}

static void test_syslog_gets_events_with_a_facility(void **state)
{
	(void)state;
	assert_true(run_in_own_mounts(write_event_to_syslog));
}

static bool write_to_syslog(void)
{
	int fd = listen_at("/dev", "/dev/log");
	char sentence[128];
	const char *const parts[] = {"<28>", sentence, NULL}; /* LOG_DAEMON | LOG_WARNING */

	snprintf(sentence, sizeof(sentence),
		" usherd[%d]: it hung up [service=echo provider_pid=42 provider_uid=0 reason=protocol]",
		getpid());
	if (fd < 0 || log_open(LOG_TO_SYSLOG, NULL) < 0)
		return false;
	log_write(LOG_WARNING, &about, "it %s", "hung up");
	log_close(ENOUGH_USEC);
	return has_all(next_datagram(fd), parts);
}

static void test_syslog_gets_a_line(void **state)
{
	(void)state;
	assert_true(run_in_own_mounts(write_to_syslog));
}

/* Nobody reads /dev/log, and its queue of datagrams (net.unix.max_dgram_qlen) is full. */
static bool write_to_stalled_syslog(void)
{
	int fd = listen_at("/dev", "/dev/log");

	if (fd < 0 || log_open(LOG_TO_SYSLOG, NULL) < 0)
		return false;
	for (int i = 0; i < 3000; i++)
		log_write(LOG_INFO, NULL, "nobody reads this");
	log_close(10000);
	return log_n_dropped() > 0 && log_open(LOG_TO_SYSLOG, NULL) == -EBUSY;
}

static void test_stalled_syslog_blocks_nobody(void **state)
{
	(void)state;
	assert_true(run_in_own_mounts(write_to_stalled_syslog));
}

int main(void)
{
	const bool can_mount = run_in_own_mounts(mount_tmpfs);
	const struct CMUnitTest tests[] = {
		check_test_if(can_mount, test_journal_gets_named_fields),
		check_test_if(can_mount, test_journal_gets_events_with_named_fields),
		check_test_if(can_mount, test_syslog_gets_events_with_a_facility),
		check_test_if(can_mount, test_syslog_gets_a_line),
		check_test_if(can_mount, test_stalled_syslog_blocks_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
