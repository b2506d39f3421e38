/* SPDX-License-Identifier: MIT */
/* run_dir: see rundir.h. */
#include "rundir.h"

#include "fd.h"
#include "log.h"
#include "privilege.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where only root may make a folder, as in /run, root does, and gives it away. */
static int make_as_root(const char *path)
{
	uid_t uid = geteuid();
	int r = 0;

	privilege_raise();
	if (mkdir(path, 0755) < 0 || lchown(path, uid, getegid()) < 0)
		r = -errno;
	privilege_lower();
	return r;
}

static int make(const char *path)
{
	if (mkdir(path, 0755) == 0 || errno == EEXIST)
		return 0;
	return errno == EACCES ? make_as_root(path) : -errno;
}

static int check(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"run_dir %s is not a folder: remove it, or configure another", path);
		return -ENOTDIR;
	}
	if (st.st_uid != geteuid()) {
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"run_dir %s belongs to uid %u, and usherd runs as uid %u: 'chown %u %s', "
			"or configure another",
			path, st.st_uid, geteuid(), geteuid(), path);
		return -EPERM;
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"run_dir %s can be written by others, who could replace its sockets: "
			"'chmod go-w %s', or configure another",
			path, path);
		return -EPERM;
	}
	return 0;
}

int rundir_make(const char *path)
{
	int r = make(path);

	if (r < 0) {
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot make run_dir %s: %s", path, strerror(-r));
		return r;
	}
	return check(path);
}

int rundir_lock(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -EBADF;
	char *file;
	int r = 0;

	if (asprintf(&file, "%s/usherd.lock", path) < 0)
		return -ENOMEM;
	fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		r = -errno;
	if (r == -EWOULDBLOCK)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"another usherd is running with run_dir %s: stop it, or configure another",
			path);
	else if (r < 0)
		log_write(LOG_ERR, &(struct log_about){.reason = "start-failed"},
			"cannot lock %s: %s", file, strerror(-r));
	else
		*ret_fd = take_fd(&fd);
	free(file);
	return r;
}

/* *ret is the name without its ending. */
static bool is_socket_of_ours(int dir_fd, const char *name, char ret[WIRE_NAME_SIZE])
{
	const char *ending = strrchr(name, '.');
	struct stat status;

	if (!ending || ending == name || strcmp(ending, ".sock") != 0 ||
		ending - name >= WIRE_NAME_SIZE)
		return false;
	(void)snprintf(ret, WIRE_NAME_SIZE, "%.*s", (int)(ending - name), name);
	return fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode);
}

void rundir_sweep(const char *path, struct inheritance *inheritance)
{
	char service[WIRE_NAME_SIZE];
	DIR *dir = opendir(path);

	if (!dir)
		return; /* what can't be read will not be bound in either, and that is told */
	for (const struct dirent *entry; (entry = readdir(dir));)
		if (is_socket_of_ours(dirfd(dir), entry->d_name, service) &&
			!inheritance_has_rendezvous(inheritance, service))
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	(void)closedir(dir);
}
