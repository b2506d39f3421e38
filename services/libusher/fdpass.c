/* SPDX-License-Identifier: MIT */
/*
 * sendmsg(2), recvmsg(2) and recvmmsg(2) with SCM_RIGHTS. See fdpass.h for the contract.
 *
 * What is easily got wrong, and is right here: the room for control messages is exactly CMSG_LEN()
 * of what is expected, because CMSG_SPACE() is padded and so admits one descriptor more without
 * MSG_CTRUNC; the buffer is aligned as cmsghdr(3) wants it; and every control message is looked at,
 * not only the first.
 */
#include "fdpass.h"
#include "fd.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Room for the control message of any number of descriptors, aligned for its header. */
union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(FDPASS_MAX_RECEIVED * sizeof(int))];
};

int fdpass_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds)
{
	union control control;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (size == 0 || n_fds > FDPASS_MAX)
		return -EINVAL;
	if (n_fds > 0) {
		control.header = (struct cmsghdr){0};
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = control.header.cmsg_len;
	}
	do
		n = sendmsg(socket_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* A message to be received: the room it may fill. */
static struct msghdr make_room(struct iovec *iov, void *control, size_t max_fds)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 1};

	assert(max_fds <= FDPASS_MAX_RECEIVED);
	if (max_fds > 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_LEN(max_fds * sizeof(int));
	}
	return message;
}

int fdpass_send_many(int socket_fd, struct iovec *messages, unsigned int n)
{
	struct mmsghdr headers[FDPASS_MAX_MESSAGES] = {0};
	int r;

	assert(n > 0 && n <= FDPASS_MAX_MESSAGES);
	for (unsigned int i = 0; i < n; i++) {
		headers[i].msg_hdr.msg_iov = &messages[i];
		headers[i].msg_hdr.msg_iovlen = 1;
	}
	do
		r = sendmmsg(socket_fd, headers, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

/* Take over the descriptors of one SCM_RIGHTS message. The kernel merges several; it need not. */
static void collect_fds(struct fdpass_received *ret, const struct cmsghdr *header)
{
	size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	assert(ret->n_fds + n <=
		FDPASS_MAX_RECEIVED); /* the room for control messages ends there */
	memcpy(&ret->fds[ret->n_fds], CMSG_DATA(header), n * sizeof(int));
	ret->n_fds += n;
}

/* Take over a message of `size` bytes. */
static void collect(struct fdpass_received *ret, struct msghdr *message, size_t size)
{
	ret->size = size;
	ret->n_fds = 0;
	ret->is_data_truncated = message->msg_flags & MSG_TRUNC;
	ret->is_fds_truncated = message->msg_flags & MSG_CTRUNC;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			collect_fds(ret, c);
}

static int receive(int socket_fd, void *data, size_t size, size_t max_fds, int flags,
	struct fdpass_received *ret)
{
	union control control;
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr message = make_room(&iov, &control, max_fds);
	ssize_t n;

	do
		n = recvmsg(socket_fd, &message, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	collect(ret, &message, (size_t)n);
	return 0;
}

int fdpass_receive(
	int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret)
{
	return receive(socket_fd, data, size, max_fds, 0, ret);
}

int fdpass_receive_many(int socket_fd, void *data, size_t size, size_t max_fds,
	struct fdpass_received *ret, unsigned int n)
{
	_Alignas(union control) char controls[FDPASS_MAX_MESSAGES][sizeof(union control)];
	struct iovec iovs[FDPASS_MAX_MESSAGES];
	struct mmsghdr messages[FDPASS_MAX_MESSAGES];
	int n_received;

	assert(n > 0 && n <= FDPASS_MAX_MESSAGES);
	for (unsigned int i = 0; i < n; i++) {
		iovs[i] = (struct iovec){.iov_base = (char *)data + i * size, .iov_len = size};
		messages[i].msg_hdr = make_room(&iovs[i], controls[i], max_fds);
	}
	do
		n_received =
			recvmmsg(socket_fd, messages, n, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	while (n_received < 0 && errno == EINTR);
	if (n_received < 0)
		return -errno;
	for (int i = 0; i < n_received; i++)
		collect(&ret[i], &messages[i].msg_hdr, messages[i].msg_len);
	return n_received;
}

int fdpass_peek(int socket_fd, void *data, size_t size, size_t max_fds, struct fdpass_received *ret)
{
	return receive(socket_fd, data, size, max_fds, MSG_PEEK, ret);
}

void fdpass_close(struct fdpass_received *received, size_t first)
{
	while (received->n_fds > first)
		close_fd(received->fds[--received->n_fds]);
}
