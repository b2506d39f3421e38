/* SPDX-License-Identifier: MIT */
/*
 * What the messages of usherd mean, and connections that did not arrive.
 *
 * No descriptor is kept in reserve for receiving: connections that find no free one are declined,
 * and usherd, which still has its own copies, gives them to somebody else. Memory is reserved
 * before anything is received: when there is none, connections stay in the channel.
 */
#include "registration-private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whatever was in the way of the registration is so no more. */
static void on_first_welcome(struct usher *u)
{
	const struct wire_welcome *welcome = &u->message->welcome;

	u->channel.is_welcome = true;
	memcpy(u->channel.service, welcome->service, sizeof(u->channel.service));
	u->welcome_ns = registration_now_ns();
	u->error_text[0] = '\0';
	if (registration_credit_left(u) < 0) /* HELLO could not say this */
		u->channel.owed |= CHANNEL_OWES_CREDIT;
	if (u->channel.status.text[0] != '\0')
		u->channel.owed |= CHANNEL_OWES_STATUS;
}

static void on_welcome(struct usher *u, size_t n_listeners)
{
	size_t size = n_listeners * sizeof(*u->listeners);
	struct wire_listener *listeners = malloc(size ? size : 1);

	if (!listeners) {
		u->error = -ENOMEM;
		registration_leave(u);
		return;
	}
	memcpy(listeners, u->message->welcome.listeners, size);
	free(u->listeners);
	u->listeners = listeners;
	u->n_listeners = n_listeners;
	u->channel.may_forward = u->message->welcome.flags & WIRE_WELCOME_MAY_FORWARD;
	if (!u->channel.is_welcome) /* else it comes again because something has changed */
		on_first_welcome(u);
}

static void on_refused(struct usher *u)
{
	const struct wire_refused *refused = &u->message->refused;

	registration_explain(u, "%s", refused->reason);
	lent_clear(&u->lent); /* somebody else may have them */
	switch (refused->error) {
	case EAGAIN:
	case EINTR:
	case EINVAL:
	case EMFILE:
	case EPROTO:
	case ESHUTDOWN: /* these mean something else to the callers of usher_accept() */
		u->error = -ECONNREFUSED;
		break;
	default:
		u->error = -(int)refused->error;
	}
	registration_leave_for_long(u);
}

/* Returns the connection in the queue. Takes `message` as held_add() does. */
static struct usher_connection *enqueue(
	struct usher *u, const struct wire_connection *record, int fd, void *message)
{
	struct usher_connection *connection = &u->queue[u->n_queued++];

	*connection = (struct usher_connection){
		.fd = fd,
		.listener = record->listener,
		.id = held_add(&u->held, record->id, u->channel.number, message),
		.accepted = registration_timespec(record->accepted_ns),
	};
	connection->peer_length = wire_address_to_sockaddr(&record->peer, &connection->peer);
	return connection;
}

/* From the connection `first` on the descriptors did not arrive: none until there is room again. */
static void decline(struct usher *u, uint64_t first, uint64_t last)
{
	u->channel.decline.first = first;
	u->channel.decline.last = last;
	u->channel.owed |= CHANNEL_OWES_DECLINE | CHANNEL_OWES_CREDIT;
	registration_restore_later(u);
	u->error = -EMFILE;
	registration_explain(u,
		"%llu connections did not arrive and were handed back: this process is at its "
		"descriptor limit, or a security module refused them",
		(unsigned long long)(last - first + 1));
}

/* Of `n` more connections the first `n_arrived` are queued. Tell usherd. */
static void acknowledge(struct usher *u, size_t n, size_t n_arrived)
{
	uint64_t before = u->channel.sequence;

	u->channel.sequence += n;
	if (n_arrived > 0) {
		u->channel.claim.sequence = before + n_arrived;
		u->channel.owed |= CHANNEL_OWES_CLAIM;
	}
	if (n_arrived < n)
		decline(u, before + n_arrived + 1, before + n);
	(void)registration_flush(u); /* if it can't be sent now it stays owed */
}

static void on_connections(struct usher *u, size_t n, const struct fdpass_received *received)
{
	const struct wire_connection *records = u->message->connections.connections;

	u->first_queued = 0;
	for (size_t i = 0; i < received->n_fds; i++)
		(void)enqueue(u, &records[i], received->fds[i], NULL);
	acknowledge(u, n, received->n_fds);
}

/* Give the message away, in a block of its size. */
static void *take_message(struct usher *u, size_t size)
{
	void *smaller = realloc(u->message, size);
	void *taken = smaller ? smaller : u->message;

	u->message = NULL;
	return taken;
}

/* The message stays with the connection: the application reads its bytes there. */
static void on_forwarded(struct usher *u, size_t n_bytes, const struct fdpass_received *received)
{
	u->first_queued = 0;
	if (received->n_fds > 0) {
		struct wire_forwarded *message = take_message(u, received->size);
		struct usher_connection *connection =
			enqueue(u, &message->connection, received->fds[0], message);

		connection->forwarded_by = message->from;
		connection->data = n_bytes > 0 ? message->data : NULL;
		connection->data_size = n_bytes;
	}
	acknowledge(u, 1, received->n_fds);
}

/*
 * Sockets that did not arrive can't be asked for on this channel. Its end lets usherd lend them to
 * somebody who has room; a later one may get them again.
 */
static void on_lent_lost(struct usher *u)
{
	lent_clear(&u->lent);
	u->error = -EMFILE;
	registration_explain(u, "sockets that usherd lends did not arrive: this process is at its "
				"descriptor limit, or a security module refused them");
	registration_leave_for_long(u);
}

static void on_listeners(struct usher *u, size_t n, struct fdpass_received *received)
{
	const struct wire_listeners *message = &u->message->listeners;
	int r;

	if (received->n_fds < n) {
		fdpass_close(received, 0);
		on_lent_lost(u);
		return;
	}
	/* After usher_drain() they go back to usherd unseen, which knows of it by DRAIN. */
	if (u->is_draining) {
		fdpass_close(received, 0);
		return;
	}
	r = lent_change(&u->lent, message->listeners, received->fds, n, message->header.flags);
	if (r < 0) {
		registration_explain(
			u, "what usherd lends cannot be taken: %s", strerrordesc_np(-r));
		u->error = r;
		registration_leave(u);
	}
}

/* Nothing more comes, and usherd does not want this registration back. */
static void end_registration(struct usher *u, const char *why)
{
	registration_explain(u, "%s", why);
	lent_clear(&u->lent);
	u->is_draining = true;
	u->is_drained = true;
	u->retry_ns = 0;
}

/*
 * Nothing more comes on this channel. If that is not for good, the service was removed or usherd is
 * about to go, and either may be back: wait for the end of the file, but not for ever.
 */
static void on_draining(struct usher *u)
{
	switch (u->message->draining.reason) {
	case WIRE_DRAINING_REPLACED:
		end_registration(u, "a newer provider has taken over this service");
		return;
	case WIRE_DRAINING_ADMINISTRATOR:
		end_registration(u, "the administrator has drained this provider");
		return;
	}
	if (u->is_draining) {
		u->is_drained = true;
	} else {
		registration_explain(u, "usherd gives no more connections to this registration");
		registration_leave_soon(u);
	}
}

static void on_message(struct usher *u, struct fdpass_received *received)
{
	size_t n_records = wire_n_records(u->message, received->size);

	switch (u->message->header.type) {
	case WIRE_WELCOME:
		on_welcome(u, n_records);
		break;
	case WIRE_REFUSED:
		on_refused(u);
		break;
	case WIRE_CONNECTIONS:
		on_connections(u, n_records, received);
		break;
	case WIRE_LISTENERS:
		on_listeners(u, n_records, received);
		break;
	case WIRE_FORWARDED:
		on_forwarded(u, n_records, received);
		break;
	case WIRE_DRAINING:
		on_draining(u);
		break;
	}
}

int registration_receive(struct usher *u)
{
	struct fdpass_received received;
	const char *why;
	int r = held_reserve(&u->held, WIRE_MAX_CONNECTIONS);

	if (r >= 0)
		r = registration_make_room(u);
	if (r < 0)
		return r;
	r = channel_receive(&u->channel, u->message, &received, &why);
	if (r == -EAGAIN)
		return 0;
	if (r == -EPROTO) {
		registration_explain(u, "usherd sent a message that makes no sense: %s", why);
		u->error = r;
	} else if (r < 0) {
		return r;
	}
	if (r > 0) {
		on_message(u, &received);
		return 1;
	}
	if (r == 0)
		registration_explain(u, "usherd has closed the channel");
	registration_leave(u);
	return 1;
}
