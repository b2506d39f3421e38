/* SPDX-License-Identifier: MIT */
/*
 * One registered process, or one that is about to register: its channel, what goes out on it, and
 * what its messages mean to dispatch.
 *
 * A provider that breaks the protocol is quarantined rather than thrown out: what was sent to it
 * can't be revoked (it may still be read from its queue), so its unclaimed connections may only go
 * to somebody else when its end of the channel is closed.
 *
 * Invariant: the channel is closed here only when no connection is unclaimed on it, or the peer has
 * closed its end or given it up by shutdown(2). libusher relies on it: a claim that meets a closed
 * channel means that usherd itself is gone.
 */
#pragma once

#include "dispatch.h"
#include "rendezvous.h"
#include "succession.h"
#include "wire.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

/* A process that connects must say HELLO within this time. */
#define PROVIDER_HELLO_USEC (5 * UINT64_C(1000000))

struct provider;

struct provider_events {
	/* HELLO is well-formed: answer with provider_welcome() or provider_refuse(). */
	void (*on_hello)(struct provider *p, const struct wire_hello *hello, void *userdata);
	/* There is room now for what provider_owe_welcome() promised: provider_welcome() again. */
	void (*on_welcome_owed)(struct provider *p, void *userdata);
	/*
	 * FORWARD: dispatch knows that *h is the provider's no more. h->fd (-EBADF if it was lost
	 * on the way) is taken; the message has `n_bytes` of data.
	 */
	void (*on_forward)(struct provider *p, const struct wire_forward *forward, size_t n_bytes,
		struct handoff *h, void *userdata);
	/* It gets no more, for p->draining_reason. */
	void (*on_draining)(struct provider *p, void *userdata);
	/* Something was told to dispatch: carry out its actions. */
	void (*on_change)(void *userdata);
	/* The channel is over, dispatch knows; free the provider now. */
	void (*on_gone)(struct provider *p, void *userdata);
};

/* Members are for reading only; the provider*.c files change them. */
struct provider {
	struct provider *next;	     /* the service's list */
	struct provider *dirty_next; /* the service's list of those with something in the outbox */
	bool is_dirty;
	unsigned int number; /* for people: counts the service's providers from 1 */
	const char *service; /* its name, the service's own */
	pid_t pid;
	uid_t uid;
	char name[WIRE_NAME_SIZE];
	char status[WIRE_STATUS_SIZE];

	struct dispatch *dispatch;
	struct dispatch_provider *record; /* NULL until it is registered */

	int fd;
	bool may_forward; /* descriptors come through the channel, and WELCOME says so */
	sd_event_source *io;
	sd_event_source *death; /* of the process; NULL where the kernel can't tell */
	sd_event_source
		*timer; /* the HELLO deadline; later the pause after ETOOMANYREFS and the like */
	bool is_reading_paused; /* because no descriptor is free: until the timer */
	bool is_paced; /* read when provider_read() is called, not when it says something */
	bool is_waiting_for_room; /* in the channel */
	struct handoff *outbox[WIRE_MAX_CONNECTIONS];
	uint32_t n_outbox;
	uint32_t n_unsent; /* taken out of the outbox because the channel is full */
	bool owes_welcome; /* WELCOME or DRAINING did not fit into the channel yet */
	bool owes_draining;
	bool takes_listeners; /* as HELLO said */
	bool owes_listeners;  /* LISTENERS: it was not told yet what is lent to it now */
	enum wire_draining_reason draining_reason;

	const struct provider_events *events;
	void *userdata;
};

/*
 * Wait for HELLO on `fd`, a channel from rendezvous.h. Takes `fd`, also on failure. Returns 0 with
 * *ret (free with provider_free()) or a negative errno.
 */
int provider_new(struct provider **ret, sd_event *event, int fd, const struct rendezvous_peer *peer,
	const char *service, struct dispatch *dispatch, const struct provider_events *events,
	void *userdata);

/* Its record with dispatch, for dispatch_restore_provider(). */
struct dispatch_provider provider_record_of(const struct saved_provider *saved);

/*
 * Go on with a registered provider of an earlier usherd, which does not notice: its channel, and
 * its record with `dispatch`, which is being restored. saved->fd is taken. Its connections are the
 * caller's to restore. Returns 0 with *ret (provider_free()) or a negative errno: -EINVAL if the
 * record can't be one.
 */
int provider_restore(struct provider **ret, sd_event *event, struct saved_provider *saved,
	const char *service, struct dispatch *dispatch, const struct provider_events *events,
	void *userdata);

/* Closes the channel. dispatch must not know it any more. NULL is allowed. Returns NULL. */
struct provider *provider_free(struct provider *p);

/* Send REFUSED with `error` (a positive errno) and `reason` on a channel without a provider. */
void provider_refuse_channel(int fd, int error, const char *reason);

/* Answer HELLO: no. on_gone follows. */
void provider_refuse(struct provider *p, int error, const char *reason);

/*
 * Answer HELLO: yes; or say that the listeners have changed. `welcome` is complete but for header,
 * version and flags, `size` its bytes. Returns 0 or a negative errno of sendmsg(2).
 */
int provider_welcome(struct provider *p, struct wire_welcome *welcome, size_t size);

/*
 * WELCOME could not be sent again, for `error` (a negative errno): nothing is given to the provider
 * until on_welcome_owed has sent it.
 */
void provider_owe_welcome(struct provider *p, int error);

/*
 * Tell it what is lent to it now: `n` records (0 to WIRE_MAX_LISTENERS) with their descriptors,
 * which stay the caller's. What can't be sent now is owed: p->owes_listeners stays, on_change comes
 * when there is room, and then all is said again.
 */
void provider_lend(
	struct provider *p, const struct wire_listener *listeners, const int *fds, size_t n);

/* It is to be told by provider_lend() as soon as it can be. */
void provider_owe_listeners(struct provider *p);

/* LISTENERS is owed, and nothing else keeps it from being sent now. */
bool provider_wants_listeners(const struct provider *p);

/* It may forward from now on: tell it by provider_welcome(). It stays so: what it sends may be on
 * its way already when that is over. */
void provider_allow_forward(struct provider *p);

/* Register with dispatch: after the first provider_welcome(). Returns 0 or -ENOMEM. */
int provider_register(struct provider *p, const struct wire_hello *hello);

/*
 * While it is paced, its messages wait until provider_read(); its end is still noticed at once.
 */
void provider_set_paced(struct provider *p, bool is_paced);

/* Read what it has said. on_gone may follow. */
void provider_read(struct provider *p);

/* Put a connection into the outbox; a full one is sent, and one that was forwarded at once. */
void provider_give(struct provider *p, struct handoff *h);

/*
 * Send the outbox. What could not be sent is then counted in n_unsent, and the provider asks to be
 * told when there is room; see provider_take_unsent().
 */
void provider_flush(struct provider *p);

/*
 * How many of the last given connections could not be sent: dispatch_unsent() them. Forgets the
 * number.
 */
uint32_t provider_take_unsent(struct provider *p);

/* Is it registered, and has it neither said nor been told that no more will come? */
bool provider_is_serving(const struct provider *p);

/* Tell the provider that no more will come. One that was told before hears the first reason again.
 */
void provider_drain(struct provider *p, enum wire_draining_reason reason);

/*
 * Log about the provider: `format` is what follows "SERVICE: provider 1 (NAME, pid 42, uid 33) ",
 * or the like for a process that is not registered. `reason` as in struct log_about.
 */
void provider_log(const struct provider *p, int priority, const char *reason, const char *format,
	...) __attribute__((format(printf, 4, 5)));
