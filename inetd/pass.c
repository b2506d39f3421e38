/* SPDX-License-Identifier: MIT */
/*
 * One connection on its way to a receiver: see pass.h.
 *
 * The memory of a message in an AF_UNIX queue is its sender's (SIOCOUTQ) until it is read or thrown
 * away, and the sender is woken then, as for room in its buffer.
 */
#include "pass.h"

#include "closer.h"
#include "fd.h"
#include "fdpass.h"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <linux/sockios.h>

struct pass {
	int fd; /* the channel */
	int type;
	struct sockaddr_un receiver; /* of datagrams: where it was sent, and to which file */
	dev_t device;
	ino_t inode; /* 0: not known */
	sd_event_source *io;
	pass_on_end on_end;
	void *userdata;
};

bool pass_is_full(int error)
{
	static const int errors[] = {EAGAIN, ETOOMANYREFS, ENOBUFS, ENOMEM, EMFILE, ENFILE};

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (error == -errors[i])
			return true;
	return false;
}

static struct sockaddr_un address_of(const struct config_pass *receiver)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	/* config_load() has seen to it that it fits. */
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", receiver->path);
	return address;
}

/* A queue of datagrams is full or not whether or not we are connected to it. */
static bool has_room(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

	return poll(&poll_fd, 1, 0) > 0;
}

int pass_connect(const struct config_pass *receiver)
{
	const struct sockaddr_un address = address_of(receiver);
	_cleanup_close_ int fd = socket(AF_UNIX, receiver->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	if (receiver->type == SOCK_DGRAM && !has_room(fd))
		return -EAGAIN;
	return take_fd(&fd);
}

static char *append(char *end, const char *text)
{
	return stpcpy(end, text) + 1;
}

static char *append_address(char *end, const char *address_name, const char *port_name,
	const struct wire_address *address)
{
	char host[INET6_ADDRSTRLEN], port[8];

	(void)inet_ntop(address->family, address->address, host, sizeof(host));
	(void)snprintf(port, sizeof(port), "%u", ntohs(address->port));
	end = append(append(end, address_name), host);
	return append(append(end, port_name), port);
}

static bool is_inet(const struct wire_address *address)
{
	return address->family == AF_INET || address->family == AF_INET6;
}

/* The names are those of Postfix: src/global/mail_proto.h, postscreen(8). */
size_t pass_format_attributes(const struct wire_address *peer, const struct wire_address *local,
	char ret[static PASS_MAX_ATTRIBUTES])
{
	char *end = ret;

	if (is_inet(peer) && is_inet(local)) {
		end = append_address(end, "client_address", "client_port", peer);
		end = append_address(end, "server_address", "server_port", local);
	}
	*end++ = '\0';
	return (size_t)(end - ret);
}

static struct wire_address local_address_of(int fd)
{
	struct sockaddr_storage storage = {.ss_family = AF_UNSPEC};
	socklen_t size = sizeof(storage);
	struct wire_address address;

	(void)getsockname(fd, (struct sockaddr *)&storage, &size);
	wire_address_from_sockaddr(&address, (struct sockaddr *)&storage);
	return address;
}

static int send_message(
	int channel_fd, const struct config_pass *receiver, int fd, const struct wire_address *peer)
{
	char message[1 + PASS_MAX_ATTRIBUTES] = "";
	size_t size = 1;

	if (receiver->has_postfix_attributes) {
		const struct wire_address local = local_address_of(fd);

		size += pass_format_attributes(peer, &local, message + 1);
	}
	return fdpass_send(channel_fd, message, size, &fd, 1);
}

/*
 * Has the receiver read the message, or was it thrown away? One byte is left for the moment in
 * which the kernel wakes us, before it takes off the rest.
 */
static bool is_out_of_the_queue(const struct pass *pass)
{
	int n_bytes = 0;

	return ioctl(pass->fd, SIOCOUTQ, &n_bytes) < 0 || n_bytes <= 1;
}

/*
 * The file is the same and nobody has it open: the socket that we sent to is no more. If the file
 * is another one it may well live on.
 */
static bool is_receiver_dead(const struct pass *pass)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0 || pass->inode == 0 || lstat(pass->receiver.sun_path, &st) < 0 ||
		st.st_dev != pass->device || st.st_ino != pass->inode)
		return false;
	return connect(fd, (const struct sockaddr *)&pass->receiver, sizeof(pass->receiver)) < 0 &&
	       errno == ECONNREFUSED;
}

static enum pass_end end_of(const struct pass *pass)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (pass->type == SOCK_DGRAM)
		return is_receiver_dead(pass) ? PASS_UNREAD : PASS_TAKEN;
	/* Said before the message is thrown away, so that it is here now if that was so. */
	(void)getsockopt(pass->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	return error == ECONNRESET ? PASS_UNREAD : PASS_TAKEN;
}

/* What the receiver answers is not read: it may, and no answer is needed. */
static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct pass *pass = userdata;

	(void)source, (void)fd, (void)revents;
	if (is_out_of_the_queue(pass))
		pass->on_end(pass, end_of(pass), pass->userdata);
	return 0;
}

static int watch(
	struct pass **ret, sd_event *event, int channel_fd, pass_on_end on_end, void *userdata)
{
	_cleanup_close_ int owned_fd = channel_fd;
	struct pass *pass = calloc(1, sizeof(*pass));
	socklen_t size = sizeof(pass->type);
	int r;

	if (!pass)
		return -ENOMEM;
	*pass = (struct pass){.fd = -EBADF, .on_end = on_end, .userdata = userdata};
	r = getsockopt(owned_fd, SOL_SOCKET, SO_TYPE, &pass->type, &size) < 0 ? -errno : 0;
	if (r >= 0) /* edge-triggered: woken by each message that is read, and not all the time */
		r = sd_event_add_io(event, &pass->io, owned_fd, EPOLLOUT | EPOLLET, on_io, pass);
	if (r < 0) {
		pass_free(pass);
		return r;
	}
	pass->fd = take_fd(&owned_fd);
	*ret = pass;
	return 0;
}

/* Which file it will be sent to. */
static void identify(struct pass *pass, const struct config_pass *receiver)
{
	struct stat st;

	pass->receiver = address_of(receiver);
	if (lstat(receiver->path, &st) < 0)
		return;
	pass->device = st.st_dev;
	pass->inode = st.st_ino;
}

int pass_new(struct pass **ret, sd_event *event, const struct config_pass *receiver, int channel_fd,
	int fd, const struct wire_address *peer, pass_on_end on_end, void *userdata)
{
	struct pass *pass;
	int r;

	if (channel_fd < 0)
		channel_fd = pass_connect(receiver);
	if (channel_fd < 0)
		return channel_fd;
	r = watch(&pass, event, channel_fd, on_end, userdata);
	if (r < 0)
		return r;
	if (pass->type == SOCK_DGRAM)
		identify(pass, receiver);
	r = send_message(pass->fd, receiver, fd, peer);
	if (r < 0) {
		pass_free(pass);
		return r;
	}
	*ret = pass;
	return 0;
}

int pass_adopt(
	struct pass **ret, sd_event *event, int channel_fd, pass_on_end on_end, void *userdata)
{
	return watch(ret, event, channel_fd, on_end, userdata);
}

int pass_fd(const struct pass *pass)
{
	return pass->fd;
}

struct pass *pass_free(struct pass *pass)
{
	if (!pass)
		return NULL;
	sd_event_source_disable_unref(pass->io);
	closer_close_received(pass->fd); /* the receiver's answer may have descriptors in it */
	free(pass);
	return NULL;
}
