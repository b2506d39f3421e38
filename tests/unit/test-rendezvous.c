/* SPDX-License-Identifier: MIT */
/*
 * Who connects to a rendezvous, and who may register there.
 *
 * Other users are child processes, which needs root; geteuid(2) is wrapped to be usherd's user.
 */
#include "fd.h"
#include "fdpass.h"
#include "loop.h"
#include "rendezvous.h"
#include "unixsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define MAX_GROUPS	  512

static const struct rendezvous_access closed, open_to_others = {.is_open_to_others = true},
					      for_descriptors = {.passes_descriptors = true};

static uint32_t store_number; /* 0: there is no store */
static unsigned int n_stored;

static uid_t own_user;
static int peer_groups_error;

uid_t __wrap_geteuid(void);
int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length);
uint32_t __wrap_fdstore_add(enum fdstore_kind kind, const char *service, int fd);
bool __wrap_fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number);

uint32_t __wrap_fdstore_add(enum fdstore_kind kind, const char *service, int fd)
{
	assert_int_equal(kind, FDSTORE_RENDEZVOUS);
	assert_string_equal(service, "echo");
	assert_true(fd >= 0);
	n_stored++;
	return store_number;
}

/* As after fdstore_freeze(). */
bool __wrap_fdstore_remove(enum fdstore_kind kind, const char *service, uint32_t number)
{
	assert_int_equal(kind, FDSTORE_RENDEZVOUS);
	(void)service;
	return number > 0;
}

uid_t __wrap_geteuid(void)
{
	return own_user;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	if (level == SOL_SOCKET && name == SO_PEERGROUPS && peer_groups_error) {
		errno = peer_groups_error;
		return -1;
	}
	return __real_getsockopt(fd, level, name, value, length);
}

/* A rendezvous, and the peer that came last. */
struct scene {
	struct rendezvous *rendezvous;
	int n_peers;
	int fd;
	struct rendezvous_peer peer;
	gid_t groups[MAX_GROUPS];
};

static void on_peer(int fd, const struct rendezvous_peer *peer, void *userdata)
{
	struct scene *s = userdata;

	close_fd(s->fd);
	s->fd = fd;
	s->peer = *peer;
	assert_true(peer->process.n_groups <= MAX_GROUPS);
	if (peer->process.n_groups > 0)
		memcpy(s->groups, peer->process.groups,
			peer->process.n_groups * sizeof(*s->groups));
	s->peer.process.groups = s->groups;
	s->n_peers++;
}

static void begin_with(
	struct scene *s, const struct rendezvous_access *access, const struct inherited *inherited)
{
	*s = (struct scene){.fd = -EBADF};
	assert_int_equal(chmod(in_folder(""), 0755), 0); /* other users come here */
	assert_int_equal(rendezvous_new(&s->rendezvous, loop, "echo", in_folder("rendezvous"),
				 access, inherited, on_peer, s),
		0);
}

static void begin(struct scene *s, bool is_open_to_others)
{
	begin_with(s, is_open_to_others ? &open_to_others : &closed, NULL);
}

static void end(struct scene *s)
{
	rendezvous_free(s->rendezvous);
	close_fd(s->fd);
}

/* A connected channel or a negative errno. */
static int connect_to(const char *path, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return take_fd(&fd);
}

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	size_t n_groups;
};

/* Connect to `path` in a process with that identity. Returns 0 or what connect() said. */
static int connect_as(const struct identity *who, const char *path, pid_t *ret_pid)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgroups(who->n_groups, who->groups) < 0 ||
			setresgid(who->gid, who->gid, who->gid) < 0 ||
			setresuid(who->uid, who->uid, who->uid) < 0)
			_exit(255);
		int fd = connect_to(path, SOCK_SEQPACKET);
		_exit(fd < 0 ? -fd : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 255);
	*ret_pid = pid;
	return -WEXITSTATUS(status);
}

static void check_peer_is(struct scene *s, const struct identity *who)
{
	pid_t pid;
	int n_before = s->n_peers;

	assert_int_equal(connect_as(who, rendezvous_path(s->rendezvous), &pid), 0);
	turn_until(s->n_peers > n_before);
	assert_int_equal(s->peer.process.pid, pid);
	assert_int_equal(s->peer.process.uid, who->uid);
	assert_int_equal(s->peer.process.gid, who->gid);
	assert_int_equal(s->peer.process.n_groups, who->n_groups);
	for (size_t i = 0; i < who->n_groups; i++)
		assert_int_equal(s->peer.process.groups[i], who->groups[i]);
}

/* The children have ended when their channel is looked at: credentials are those of connect(2). */
static void test_the_credentials_of_other_users(void **state)
{
	static const struct identity identities[] = {
		{.uid = 4711, .gid = 4712},
		{.uid = 4711, .gid = 4712, .groups = {4713}, .n_groups = 1},
		{.uid = 4714, .gid = 0, .groups = {0, 5, 4715}, .n_groups = 3},
		{.uid = 0, .gid = 4716},
	};
	struct scene s;

	(void)state;
	begin(&s, true);
	for (size_t i = 0; i < N_ELEMENTS(identities); i++)
		check_peer_is(&s, &identities[i]);
	end(&s);
}

static void test_a_peer_with_hundreds_of_groups(void **state)
{
	struct identity who = {.uid = 4711, .gid = 4712, .n_groups = MAX_GROUPS};
	struct scene s;

	(void)state;
	for (gid_t i = 0; i < MAX_GROUPS; i++)
		who.groups[i] = 10000 + i;
	begin(&s, true);
	check_peer_is(&s, &who);
	end(&s);
}

static void test_the_credentials_of_our_own(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct scene s;

	(void)state;
	begin(&s, false);
	fd = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	turn_until(s.n_peers == 1);
	assert_int_equal(s.peer.process.pid, getpid());
	assert_int_equal(s.peer.process.uid, getuid());
	assert_int_equal(s.peer.process.gid, getgid());
	assert_true(fcntl(s.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(s.fd, F_GETFD) & FD_CLOEXEC);
	end(&s);
}

static void test_a_peer_of_whom_nothing_is_known_is_closed(void **state)
{
	_cleanup_close_ int fd = -EBADF, other_fd = -EBADF;
	struct scene s;
	char byte;

	(void)state;
	begin(&s, false);
	peer_groups_error = ENODATA;
	fd = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	turn();
	peer_groups_error = 0;
	assert_int_equal(s.n_peers, 0);
	assert_int_equal(read(fd, &byte, 1), 0);
	other_fd = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	turn_until(s.n_peers == 1);
	end(&s);
}

static void test_the_mode_says_who_can_connect(void **state)
{
	static const struct identity stranger = {.uid = 4711, .gid = 4711};
	struct stat st;
	struct scene s;
	pid_t pid;

	(void)state;
	begin(&s, false);
	assert_int_equal(stat(rendezvous_path(s.rendezvous), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(connect_as(&stranger, rendezvous_path(s.rendezvous), &pid), -EACCES);
	assert_int_equal(rendezvous_set_access(s.rendezvous, &open_to_others), 0);
	check_peer_is(&s, &stranger);
	assert_int_equal(rendezvous_set_access(s.rendezvous, &closed), 0);
	assert_int_equal(connect_as(&stranger, rendezvous_path(s.rendezvous), &pid), -EACCES);
	end(&s);

	begin(&s, true);
	assert_int_equal(stat(rendezvous_path(s.rendezvous), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0666);
	end(&s);
}

static void test_many_peers_come_at_once(void **state)
{
	int fds[40];
	struct scene s;

	(void)state;
	begin(&s, false);
	for (size_t i = 0; i < N_ELEMENTS(fds); i++)
		fds[i] = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	assert_int_equal(turn_while_ready(), 5); /* eight in a turn: others have theirs between */
	assert_int_equal(s.n_peers, N_ELEMENTS(fds));
	for (size_t i = 0; i < N_ELEMENTS(fds); i++)
		close_fd(fds[i]);
	end(&s);
}

static void test_only_seqpacket_can_connect(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, true);
	assert_int_equal(connect_to(rendezvous_path(s.rendezvous), SOCK_STREAM), -EPROTOTYPE);
	end(&s);
}

/* Where the kernel can (Linux 6.16), the sender hears that no message carries descriptors. */
static void test_descriptors_do_not_come_in(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	socklen_t size = sizeof(int);
	int passes = -1;
	struct scene s;

	(void)state;
	begin(&s, false);
	fd = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	turn_until(s.n_peers == 1);
	if (__real_getsockopt(s.fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &size) == 0) {
		assert_int_equal(passes, 0);
		assert_int_equal(fdpass_send(fd, "x", 1, &fd, 1), -EPERM);
		assert_int_equal(fdpass_send(fd, "x", 1, NULL, 0), 0);
	}
	end(&s);
}

static bool can_send_descriptors(int fd)
{
	return fdpass_send(fd, "x", 1, &fd, 1) == 0;
}

/* Does the kernel have SO_PASSRIGHTS? */
static bool can_refuse_descriptors(int fd)
{
	socklen_t size = sizeof(int);
	int passes;

	return __real_getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &size) == 0;
}

static void test_descriptors_come_in_where_they_may(void **state)
{
	_cleanup_close_ int before = -EBADF, between = -EBADF, after = -EBADF;
	struct scene s;

	(void)state;
	begin_with(&s, &for_descriptors, NULL);
	before = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	turn_until(s.n_peers == 1);
	assert_true(s.peer.passes_descriptors);
	assert_true(can_send_descriptors(before));

	between = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	assert_int_equal(rendezvous_set_access(s.rendezvous, &closed), 0);
	turn_until(s.n_peers == 2); /* it connected before, and is accepted after the change */
	assert_false(s.peer.passes_descriptors);
	assert_int_equal(can_send_descriptors(between), !can_refuse_descriptors(between));
	after = connect_to(rendezvous_path(s.rendezvous), SOCK_SEQPACKET);
	assert_int_equal(can_send_descriptors(after), !can_refuse_descriptors(after));
	assert_int_equal(rendezvous_set_access(s.rendezvous, &for_descriptors), 0);
	turn_until(s.n_peers == 3);
	assert_true(s.peer.passes_descriptors);
	assert_true(can_send_descriptors(after));
	end(&s);
}

static void test_a_socket_that_was_left_is_gone_on_with(void **state)
{
	_cleanup_close_ int fd = -EBADF;
	struct inherited left = {.number = 0};
	struct stat before, now;
	struct scene s;

	(void)state;
	store_number = n_stored = 0;
	assert_int_equal(
		unixsocket_listen(in_folder("rendezvous"), SOCK_SEQPACKET, 0600, 8, &left.fd), 0);
	assert_int_equal(stat(in_folder("rendezvous"), &before), 0);
	fd = connect_to(in_folder("rendezvous"), SOCK_SEQPACKET);
	begin_with(&s, &open_to_others, &left);
	turn_until(s.n_peers == 1); /* who connected while nobody was there */
	assert_int_equal(stat(in_folder("rendezvous"), &now), 0);
	assert_int_equal(now.st_ino, before.st_ino);
	assert_int_equal(now.st_mode & 0777, 0666);
	assert_int_equal(rendezvous_fd(s.rendezvous), left.fd);
	rendezvous_store(s.rendezvous);
	assert_int_equal(n_stored, 1); /* it was not in the store */
	end(&s);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), -1);
}

static void test_what_is_in_the_store_keeps_its_path(void **state)
{
	struct inherited left;
	struct scene s;

	(void)state;
	store_number = 7;
	n_stored = 0;
	begin(&s, true);
	assert_int_equal(n_stored, 0);
	rendezvous_store(s.rendezvous);
	assert_int_equal(n_stored, 1);
	assert_int_equal(rendezvous_store_number(s.rendezvous), 7);
	left = (struct inherited){
		.fd = fcntl(rendezvous_fd(s.rendezvous), F_DUPFD_CLOEXEC, 0), .number = 7};
	end(&s);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), 0);

	begin_with(&s, &closed, &left);
	rendezvous_store(s.rendezvous);
	assert_int_equal(n_stored, 1); /* and not a second time */
	assert_int_equal(rendezvous_store_number(s.rendezvous), 7);
	end(&s);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), 0);
	store_number = 0;
}

static void test_the_end_unlinks_the_path(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, true);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), 0);
	end(&s);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), -1);
}

static void test_a_path_in_use_stays(void **state)
{
	struct rendezvous *second = NULL;
	struct scene s;

	(void)state;
	begin(&s, true);
	assert_int_equal(rendezvous_new(&second, loop, "echo", in_folder("rendezvous"),
				 &open_to_others, NULL, on_peer, &s),
		-EADDRINUSE);
	assert_null(second);
	assert_int_equal(access(in_folder("rendezvous"), F_OK), 0);
	end(&s);
}

/* The rules of a providers section. */
static uid_t users[] = {2001, 2002};
static gid_t groups[] = {3001, 3002};
static const struct config_providers nobody_named;
static const struct config_providers named = {
	.accounts = {.users = users, .n_users = 2, .groups = groups, .n_groups = 2}};

static bool allows(const struct config_providers *providers, uid_t uid, gid_t gid, gid_t group)
{
	gid_t list[] = {9, group, 10};
	const struct rendezvous_peer peer = {
		.process = {.uid = uid, .gid = gid, .groups = list, .n_groups = N_ELEMENTS(list)}};

	return rendezvous_allows(providers, &peer);
}

static void test_root_may_always_register(void **state)
{
	(void)state;
	own_user = 1000;
	assert_true(allows(&nobody_named, 0, 9, 9));
	assert_true(allows(&named, 0, 9, 9));
}

static void test_usherds_own_user_may_always_register(void **state)
{
	(void)state;
	own_user = 1000;
	assert_true(allows(&nobody_named, 1000, 9, 9));
	assert_true(allows(&named, 1000, 9, 9));
	own_user = 1001;
	assert_false(allows(&nobody_named, 1000, 9, 9));
}

static void test_nobody_else_may_where_nobody_is_named(void **state)
{
	(void)state;
	own_user = 1000;
	assert_false(allows(&nobody_named, 2001, 3001, 3002));
	assert_false(allows(&nobody_named, 2001, 0, 0)); /* root's groups are not root */
}

static void test_the_users_that_are_named(void **state)
{
	(void)state;
	own_user = 1000;
	assert_true(allows(&named, 2001, 9, 9));
	assert_true(allows(&named, 2002, 9, 9));
	assert_false(allows(&named, 2003, 9, 9));
	assert_false(allows(&named, 3001, 9, 9)); /* a group's number is no user's */
}

static void test_the_primary_group(void **state)
{
	(void)state;
	own_user = 1000;
	assert_true(allows(&named, 2003, 3001, 9));
	assert_true(allows(&named, 2003, 3002, 9));
	assert_false(allows(&named, 2003, 3003, 9));
	assert_false(allows(&named, 2003, 2001, 9));
}

static void test_a_supplementary_group(void **state)
{
	(void)state;
	own_user = 1000;
	assert_true(allows(&named, 2003, 9, 3001));
	assert_true(allows(&named, 2003, 9, 3002));
	assert_false(allows(&named, 2003, 9, 3003));
}

static void test_the_last_supplementary_group_counts(void **state)
{
	gid_t list[] = {9, 3002};
	struct rendezvous_peer peer = {
		.process = {.uid = 2003, .gid = 9, .groups = list, .n_groups = 2}};

	(void)state;
	own_user = 1000;
	assert_true(rendezvous_allows(&named, &peer));
	peer.process.n_groups = 1;
	assert_false(rendezvous_allows(&named, &peer));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test_if(test_is_root(), test_the_credentials_of_other_users),
		check_loop_test_if(test_is_root(), test_a_peer_with_hundreds_of_groups),
		check_loop_test(test_the_credentials_of_our_own),
		check_loop_test(test_a_peer_of_whom_nothing_is_known_is_closed),
		check_loop_test_if(test_is_root(), test_the_mode_says_who_can_connect),
		check_loop_test(test_many_peers_come_at_once),
		check_loop_test(test_only_seqpacket_can_connect),
		check_loop_test(test_descriptors_do_not_come_in),
		check_loop_test(test_descriptors_come_in_where_they_may),
		check_loop_test(test_a_socket_that_was_left_is_gone_on_with),
		check_loop_test(test_what_is_in_the_store_keeps_its_path),
		check_loop_test(test_the_end_unlinks_the_path),
		check_loop_test(test_a_path_in_use_stays),
		check_test(test_root_may_always_register),
		check_test(test_usherds_own_user_may_always_register),
		check_test(test_nobody_else_may_where_nobody_is_named),
		check_test(test_the_users_that_are_named),
		check_test(test_the_primary_group),
		check_test(test_a_supplementary_group),
		check_test(test_the_last_supplementary_group_counts),
	};

	return cmocka_run_group_tests_name("rendezvous", tests, NULL, NULL);
}
