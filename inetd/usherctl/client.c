/* SPDX-License-Identifier: MIT */
/* The client of the control socket: see client.h. */
#include "client.h"

#include "control.h"
#include "fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>

/* An answer while it is read. */
struct reader {
	int fd;
	int error; /* why reading ended: negative errno, or 0 */
	size_t n_read;
};

/* SO_SNDTIMEO bounds connect(2) too, when usherd's backlog is full: unix(7), socket(7). */
int client_set_timeout(int fd, unsigned int seconds)
{
	const struct timeval timeout = {.tv_sec = (time_t)seconds};

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0)
		return -errno;
	return 0;
}

static int timeout_or(int error)
{
	return error == EAGAIN ? -ETIMEDOUT : -error;
}

/* Returns a descriptor, given away, or a negative errno. */
static int connect_to(const char *run_dir, unsigned int timeout_seconds)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length =
		snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", run_dir);
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (length < 0 || (size_t)length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	r = client_set_timeout(fd, timeout_seconds);
	if (r < 0)
		return r;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return timeout_or(errno);
	return take_fd(&fd);
}

_Static_assert(CLIENT_MAX_REQUEST + 2 <= CONTROL_MAX_REQUEST, "usherd takes the longest one");

static int send_line(int fd, const char *request)
{
	char line[CONTROL_MAX_REQUEST];
	int length = snprintf(line, sizeof(line), "%s\n", request);

	if (length < 0 || (size_t)length >= sizeof(line) || strchr(request, '\n'))
		return -EINVAL;
	/* usherd may have answered and left already: a refusal needs no request. */
	if (send(fd, line, (size_t)length, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		return timeout_or(errno);
	return 0;
}

/* For json_load_callback(): the next bytes of the answer; (size_t)-1 is an error. */
static size_t read_some(void *buffer, size_t size, void *userdata)
{
	struct reader *reader = userdata;
	ssize_t n;

	do
		n = recv(reader->fd, buffer, size, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == ECONNRESET)
		n = 0; /* the end, too: usherd did not read the request */
	if (n < 0)
		reader->error = timeout_or(errno);
	else
		reader->n_read += (size_t)n;
	if (reader->n_read > CLIENT_MAX_ANSWER)
		reader->error = -EBADMSG;
	return reader->error < 0 ? (size_t)-1 : (size_t)n;
}

/* The end of client_ask(): `fd` is the caller's. */
static int receive_answer(int fd, json_t **ret)
{
	struct reader reader = {.fd = fd};
	json_t *answer;

	answer = json_load_callback(read_some, &reader, 0, NULL);
	if (reader.error == 0 && reader.n_read == 0)
		reader.error = -ECONNRESET;
	if (!json_is_object(answer)) {
		json_decref(answer);
		return reader.error < 0 ? reader.error : -EBADMSG;
	}
	*ret = answer;
	return 0;
}

int client_ask(const char *run_dir, const char *request, unsigned int timeout_seconds, json_t **ret,
	struct ucred *ret_usherd)
{
	_cleanup_close_ int fd = connect_to(run_dir, timeout_seconds);
	socklen_t length = sizeof(*ret_usherd);
	int r;

	if (fd < 0)
		return fd;
	if (ret_usherd && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_usherd, &length) < 0)
		return -errno;
	r = send_line(fd, request);
	return r < 0 ? r : receive_answer(fd, ret);
}

int client_open(const char *run_dir, const char *request, unsigned int timeout_seconds)
{
	_cleanup_close_ int fd = connect_to(run_dir, timeout_seconds);
	int r = fd < 0 ? fd : send_line(fd, request);

	return r < 0 ? r : take_fd(&fd);
}

const char *client_explain(int error, const char *run_dir, char *text, size_t size)
{
	switch (-error) {
	case ENOENT:
		snprintf(text, size,
			"usherd is not running: no control socket at %s/control.sock; start it "
			"('systemctl start usherd'), or say with -r which run_dir it has",
			run_dir);
		break;
	case ECONNREFUSED:
		snprintf(text, size,
			"usherd is not running: nobody answers at %s/control.sock; start it "
			"('systemctl start usherd')",
			run_dir);
		break;
	case EACCES:
	case EPERM:
		snprintf(text, size,
			"permission denied: %s/control.sock; run usherctl as root, or as the user "
			"of usherd",
			run_dir);
		break;
	case ETIMEDOUT:
		snprintf(text, size, "usherd did not answer in time; what it does is in its log");
		break;
	case EINVAL:
		snprintf(text, size,
			"names have no blanks, no line ends and at most 63 bytes; there may be too many");
		break;
	case ENAMETOOLONG:
		snprintf(text, size, "%s/control.sock: the path is too long for a socket", run_dir);
		break;
	case ECONNRESET:
		snprintf(text, size, "usherd ended the connection without an answer; see its log");
		break;
	case EBADMSG:
		snprintf(text, size,
			"the answer of usherd is not understood: are usherd and usherctl of the "
			"same version?");
		break;
	default:
		snprintf(text, size, "%s/control.sock: %s", run_dir, strerror(-error));
		break;
	}
	return text;
}
