/* SPDX-License-Identifier: MIT */
/* Binding an AF_UNIX socket to a path: see unixsocket.h. */
#include "unixsocket.h"

#include "fd.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_socket(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Does connecting say that nobody listens there any more? */
static bool is_abandoned(const struct sockaddr_un *address, int type)
{
	_cleanup_close_ int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

/* The kernel applies the umask to the mode of the new file, also to one that fchmod(2) has set on
 * the socket before. The umask belongs to the process: none of its other threads makes files. */
static int bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
	mode_t old = umask(~mode & 0777);
	int r = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

	umask(old);
	return r;
}

int unixsocket_listen(const char *path, int type, mode_t mode, int backlog, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -EBADF;
	size_t length = strlen(path);
	int r;

	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length + 1);

	fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = bind_with_mode(fd, &address, mode);
	if (r == -EADDRINUSE && !is_socket(path))
		return -EEXIST;
	if (r == -EADDRINUSE && is_abandoned(&address, type))
		r = unlink(path) < 0 ? -errno : bind_with_mode(fd, &address, mode);
	if (r < 0)
		return r;
	if (type != SOCK_DGRAM && listen(fd, backlog) < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

struct unixsocket_file unixsocket_identify(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return (struct unixsocket_file){0};
	return (struct unixsocket_file){.device = st.st_dev, .inode = st.st_ino};
}

bool unixsocket_is_there(const char *path, const struct unixsocket_file *file)
{
	struct unixsocket_file now = unixsocket_identify(path);

	return file->inode != 0 && now.device == file->device && now.inode == file->inode;
}

int unixsocket_set_mode(const char *path, const struct unixsocket_file *file, mode_t mode)
{
	struct stat st;

	if (!unixsocket_is_there(path, file))
		return 0;
	if (lstat(path, &st) == 0 && (st.st_mode & 0777) == mode)
		return 0; /* root may have made it, before usherd became another user */
	return fchmodat(AT_FDCWD, path, mode, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

void unixsocket_unlink(const char *path, const struct unixsocket_file *file)
{
	if (unixsocket_is_there(path, file))
		(void)unlink(path);
}
