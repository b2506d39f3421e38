/* SPDX-License-Identifier: MIT */
/*
 * Sending what is owed and receiving what is checked. See channel.h for the contract.
 *
 * A send that fails because usherd is gone is no error here: whatever it sent before is still in
 * our queue, and ours. Whoever reads on until the end of the file loses nothing.
 */
#include "channel.h"
#include "fd.h"

#include <errno.h>
#include <sys/socket.h>

/* The messages that may be owed, in the order in which they are sent: see channel.h. */
static const struct {
	uint32_t owed;
	size_t offset, size;
} messages[] = {
	{CHANNEL_OWES_CREDIT, offsetof(struct channel, credit), sizeof(struct wire_credit)},
	{CHANNEL_OWES_CLAIM, offsetof(struct channel, claim), sizeof(struct wire_claim)},
	{CHANNEL_OWES_DECLINE, offsetof(struct channel, decline), sizeof(struct wire_decline)},
	{CHANNEL_OWES_STATUS, offsetof(struct channel, status), sizeof(struct wire_status)},
	{CHANNEL_OWES_DRAIN, offsetof(struct channel, drain), sizeof(struct wire_drain)},
};

#define N_OWED (sizeof(messages) / sizeof(messages[0]))

void channel_init(struct channel *channel)
{
	*channel = (struct channel){
		.fd = -EBADF,
		.credit.header.type = WIRE_CREDIT,
		.claim.header.type = WIRE_CLAIM,
		.decline.header.type = WIRE_DECLINE,
		.status.header.type = WIRE_STATUS,
		.drain.header.type = WIRE_DRAIN,
	};
}

static bool is_gone(int error)
{
	return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

int channel_open(
	struct channel *channel, const struct sockaddr_un *address, const struct wire_hello *hello)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	r = fdpass_send(fd, hello, sizeof(*hello), NULL, 0);
	if (r < 0 && !is_gone(r))
		return r;
	channel->is_peer_gone = r < 0;
	channel->takes_listeners = hello->header.flags & WIRE_HELLO_TAKES_LISTENERS;
	channel->fd = take_fd(&fd);
	channel->number++;
	return 0;
}

void channel_close(struct channel *channel)
{
	channel->fd = close_fd(channel->fd);
	channel->is_welcome = false;
	channel->is_peer_gone = false;
	channel->is_blocked = false;
	channel->sequence = 0;
	channel->owed = 0;
}

/* What is owed, as messages that can be sent together. */
struct outbox {
	struct iovec messages[N_OWED + 1];
	uint32_t owed[N_OWED + 1]; /* which one it is; 0: RELEASE */
	unsigned int n;
	struct {
		struct wire_header header;
		uint64_t ids[WIRE_MAX_RELEASES];
	} release;
	size_t n_ids;
};

static void add_message(struct outbox *outbox, uint32_t owed, void *message, size_t size)
{
	outbox->owed[outbox->n] = owed;
	outbox->messages[outbox->n++] = (struct iovec){.iov_base = message, .iov_len = size};
}

static void fill_outbox(struct outbox *outbox, struct channel *channel, const struct held *held)
{
	outbox->n = 0;
	for (size_t i = 0; i < N_OWED; i++)
		if (channel->owed & messages[i].owed)
			add_message(outbox, messages[i].owed, (char *)channel + messages[i].offset,
				messages[i].size);
	if (held->n_released == 0)
		return;
	outbox->release.header = (struct wire_header){.type = WIRE_RELEASE};
	outbox->n_ids =
		held_peek_released(held, channel->number, outbox->release.ids, WIRE_MAX_RELEASES);
	add_message(outbox, 0, &outbox->release,
		sizeof(outbox->release.header) + outbox->n_ids * sizeof(outbox->release.ids[0]));
}

/* usherd is woken once for a claim and what was released before it. */
static int send_owed(struct channel *channel, struct held *held)
{
	struct outbox outbox;

	for (;;) {
		int n_sent;

		fill_outbox(&outbox, channel, held);
		if (outbox.n == 0)
			return 0;
		n_sent = fdpass_send_many(channel->fd, outbox.messages, outbox.n);
		for (int i = 0; i < n_sent; i++) {
			channel->owed &= ~outbox.owed[i];
			if (outbox.owed[i] == 0)
				held_forget(held, outbox.n_ids);
		}
		if (n_sent < 0)
			return n_sent;
	}
}

int channel_flush(struct channel *channel, struct held *held)
{
	int r = 0;

	channel->is_blocked = false;
	if (channel->is_welcome && !channel->is_peer_gone) {
		r = send_owed(channel, held);
		channel->is_peer_gone = is_gone(r);
		channel->is_blocked = r < 0 && !channel->is_peer_gone;
	}
	if (channel->fd < 0 || channel->is_peer_gone) {
		channel->owed = 0;
		held_forget(held, held->n_released);
		return 0;
	}
	return r;
}

int channel_forward(
	struct channel *channel, const struct wire_forward *message, size_t n_bytes, int fd)
{
	int r;

	if (!channel->is_welcome || channel->is_peer_gone)
		return -ENOTCONN;
	if (!channel->may_forward)
		return -EPERM;
	r = fdpass_send(channel->fd, message, sizeof(*message) + n_bytes, &fd, 1);
	if (is_gone(r)) {
		channel->is_peer_gone = true;
		return -ENOTCONN;
	}
	if (r == -EAGAIN)
		channel->is_blocked = true;
	return r == -ETOOMANYREFS ? -EAGAIN : r;
}

/* The sequence of the first connection in a message, 0 if it brings none. */
static uint64_t first_sequence(const union wire_message *message)
{
	switch (message->header.type) {
	case WIRE_CONNECTIONS:
		return message->connections.connections[0].sequence;
	case WIRE_FORWARDED:
		return message->forwarded.connection.sequence;
	default:
		return 0;
	}
}

/* What comes only after WELCOME, and LISTENERS only if it was asked for. */
static const char *check_moment(const struct channel *channel, uint16_t type)
{
	if (type == WIRE_LISTENERS && !channel->takes_listeners)
		return "listeners come to a provider that takes none";
	if (type == WIRE_LISTENERS && !channel->is_welcome)
		return "listeners come before the welcome";
	return NULL;
}

static const char *check(const struct channel *channel, const union wire_message *message,
	const struct fdpass_received *received)
{
	const char *why;
	uint64_t sequence;

	if (received->is_data_truncated)
		return "it is too long";
	if (wire_check(message, received->size, received->n_fds, WIRE_FROM_USHERD, &why) < 0)
		return why;
	sequence = first_sequence(message);
	if (sequence == 0)
		return check_moment(channel, message->header.type);
	if (!channel->is_welcome)
		return "connections come before the welcome";
	if (sequence != channel->sequence + 1)
		return "connections are missing before it";
	return NULL;
}

int channel_receive(struct channel *channel, union wire_message *ret_message,
	struct fdpass_received *ret_received, const char **ret_why)
{
	const char *why;
	int r;

	do {
		r = fdpass_receive(
			channel->fd, ret_message, sizeof(*ret_message), FDPASS_MAX, ret_received);
		/* usherd died before it read all of ours. What it sent comes after this error. */
		if (r == -ECONNRESET)
			channel->is_peer_gone = true;
	} while (r == -ECONNRESET);
	if (r < 0)
		return r;
	if (ret_received->size == 0) {
		fdpass_close(ret_received, 0); /* an empty message can't be told from the end */
		return 0;
	}
	why = check(channel, ret_message, ret_received);
	if (why) {
		fdpass_close(ret_received, 0);
		*ret_why = why;
		return -EPROTO;
	}
	return 1;
}
