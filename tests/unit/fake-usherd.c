/* SPDX-License-Identifier: MIT */
/* The far end of libusher's tests. See fake-usherd.h. */
#include "fake-usherd.h"
#include "fd.h"
#include "fdpass.h"
#include "test.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 10000

struct fake fake;

static struct {
	atomic_bool is_stopped;
	uint64_t now_ns;
	uint64_t deadline_ns; /* what the timer is set to */
	int timer_fd;
	unsigned int n_set;
} fake_clock;

int __real_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret);
int __wrap_clock_gettime(clockid_t id, struct timespec *ret)
{
	if (!fake_clock.is_stopped || id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, ret);
	ret->tv_sec = (time_t)(fake_clock.now_ns / SECOND_NS);
	ret->tv_nsec = (long)(fake_clock.now_ns % SECOND_NS);
	return 0;
}

int __real_timerfd_settime(
	int fd, int flags, const struct itimerspec *new, struct itimerspec *ret_old);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *new, struct itimerspec *ret_old);

/* Set the real timer: expired at once, or never. */
static int set_real_timer(void)
{
	bool is_due = fake_clock.deadline_ns != 0 && fake_clock.deadline_ns <= fake_clock.now_ns;
	const struct itimerspec timer = {.it_value.tv_nsec = is_due};

	return __real_timerfd_settime(fake_clock.timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *new, struct itimerspec *ret_old)
{
	if (!fake_clock.is_stopped)
		return __real_timerfd_settime(fd, flags, new, ret_old);
	fake_clock.n_set++;
	fake_clock.timer_fd = fd;
	fake_clock.deadline_ns =
		(uint64_t) new->it_value.tv_sec *SECOND_NS + (uint64_t) new->it_value.tv_nsec;
	return set_real_timer();
}

void clock_stop(void)
{
	fake_clock.now_ns = 1000 * SECOND_NS;
	fake_clock.deadline_ns = 0;
	fake_clock.n_set = 0;
	fake_clock.is_stopped = true;
}

void clock_run(void)
{
	fake_clock.is_stopped = false;
}

void clock_advance(uint64_t ns)
{
	fake_clock.now_ns += ns;
	assert_int_equal(set_real_timer(), 0);
}

uint64_t clock_pause_ns(void)
{
	if (fake_clock.deadline_ns <= fake_clock.now_ns)
		return 0;
	return fake_clock.deadline_ns - fake_clock.now_ns;
}

unsigned int clock_n_set(void)
{
	return fake_clock.n_set;
}

static bool wait_for(int fd, int timeout_ms)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};

	return poll(&polled, 1, timeout_ms) == 1;
}

void wait_readable(int fd)
{
	if (!wait_for(fd, DEADLINE_MS))
		fail_msg("descriptor %d did not become readable", fd);
}

bool is_readable(int fd)
{
	return wait_for(fd, 0);
}

void assert_eof(int fd)
{
	char byte;

	wait_readable(fd);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

void fake_start(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake.path);
	fake.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(fake.listen_fd >= 0);
	assert_int_equal(
		bind(fake.listen_fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fake.listen_fd, 16), 0);
}

static void make_fake(void)
{
	fake = (struct fake){.listen_fd = -EBADF, .channel_fd = -EBADF, .received_fd = -EBADF};
	fake.message = malloc(sizeof(*fake.message));
	assert_non_null(fake.message);
	strcpy(fake.dir, "/tmp/usher-test.XXXXXX");
	assert_non_null(mkdtemp(fake.dir));
	strcat(strcpy(fake.path, fake.dir), "/test.sock");
	assert_int_equal(setenv("USHER_RUN_DIR", fake.dir, 1), 0);
	fake_start();
}

void fake_hang_up(void)
{
	fake.channel_fd = close_fd(fake.channel_fd);
}

void fake_stop(void)
{
	fake_hang_up();
	fake.listen_fd = close_fd(fake.listen_fd);
	unlink(fake.path);
}

static void remove_fake(void)
{
	fake_stop();
	fake.received_fd = close_fd(fake.received_fd);
	assert_int_equal(rmdir(fake.dir), 0);
	unsetenv("USHER_RUN_DIR");
	free(fake.message);
}

int fake_begin_running(void **state)
{
	int r = test_begin(state);

	make_fake();
	return r;
}

int fake_begin(void **state)
{
	int r = fake_begin_running(state);

	clock_stop();
	return r;
}

int fake_end(void **state)
{
	clock_run();
	remove_fake();
	return test_end(state);
}

void fake_receive(void)
{
	struct fdpass_received received;
	const char *why = "";

	wait_readable(fake.channel_fd);
	assert_int_equal(
		fdpass_receive(fake.channel_fd, fake.message, sizeof(*fake.message), 1, &received),
		0);
	assert_true(received.size > 0);
	fake.size = received.size;
	close_fd(fake.received_fd);
	fake.received_fd = received.n_fds > 0 ? received.fds[0] : -EBADF;
	if (wire_check(fake.message, received.size, received.n_fds, WIRE_FROM_PROVIDER, &why) < 0)
		fail_msg("libusher sent a bad message: %s", why);
}

void fake_accept_silently(void)
{
	fake.sequence = 0;
	wait_readable(fake.listen_fd);
	fake.channel_fd = accept4(fake.listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fake.channel_fd >= 0);
}

void fake_accept(void)
{
	fake_hang_up();
	fake_accept_silently();
	fake_expect(WIRE_HELLO);
}

void fake_welcome(void)
{
	struct {
		struct wire_header header;
		uint16_t version, flags;
		uint32_t n_listeners;
		char service[WIRE_NAME_SIZE];
		struct wire_listener listener;
	} welcome = {
		.header.type = WIRE_WELCOME,
		.version = WIRE_VERSION,
		.flags = fake.welcome_flags,
		.n_listeners = 1,
		.service = "test",
		.listener = {.type = SOCK_STREAM,
			.address = {.family = AF_INET,
				.port = htons(7),
				.address = {127, 0, 0, 1}}},
	};

	fake_send(&welcome, sizeof(welcome), NULL, 0);
}

void fake_expect(enum wire_type type)
{
	fake_receive();
	assert_string_equal(
		wire_type_name(fake.message->header.type), wire_type_name((uint16_t)type));
}

void fake_expect_claim(uint64_t sequence)
{
	fake_expect(WIRE_CLAIM);
	assert_int_equal(fake.message->claim.sequence, sequence);
}

void fake_expect_credit(uint64_t sequence, int32_t credit)
{
	fake_expect(WIRE_CREDIT);
	assert_int_equal(fake.message->credit.sequence, sequence);
	assert_int_equal(fake.message->credit.credit, credit);
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t left, right;

	memcpy(&left, a, sizeof(left));
	memcpy(&right, b, sizeof(right));
	return (left > right) - (left < right);
}

/* In whatever order. */
void fake_expect_release(const uint64_t *ids, size_t n)
{
	fake_expect(WIRE_RELEASE);
	assert_int_equal(wire_n_records(fake.message, fake.size), n);
	qsort(fake.message->release.ids, n, sizeof(*ids), compare_ids);
	assert_memory_equal(fake.message->release.ids, ids, n * sizeof(*ids));
}

void fake_expect_nothing(void)
{
	assert_false(is_readable(fake.channel_fd));
}

void fake_send(const void *data, size_t size, const int *fds, size_t n_fds)
{
	assert_int_equal(fdpass_send(fake.channel_fd, data, size, fds, n_fds), 0);
}

void fake_send_refused(int error, const char *reason)
{
	struct wire_refused refused = {.header.type = WIRE_REFUSED, .error = (uint32_t)error};

	wire_set_text(refused.reason, sizeof(refused.reason), reason);
	fake_send(&refused, sizeof(refused), NULL, 0);
	fake_hang_up();
}

void fake_send_draining(enum wire_draining_reason reason)
{
	const struct wire_draining draining = {
		.header.type = WIRE_DRAINING,
		.reason = reason,
	};

	fake_send(&draining, sizeof(draining), NULL, 0);
}

void fake_give(size_t n, int *ret_clients, int *ret_copies)
{
	struct {
		struct wire_header header;
		struct wire_connection connections[WIRE_MAX_CONNECTIONS];
	} message = {.header.type = WIRE_CONNECTIONS};
	int copies[WIRE_MAX_CONNECTIONS] = {0};

	for (size_t i = 0; i < n; i++) {
		int pair[2];

		assert_int_equal(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
		ret_clients[i] = pair[0];
		copies[i] = pair[1];
		message.connections[i] = (struct wire_connection){
			.sequence = ++fake.sequence,
			.id = ++fake.id,
			.accepted_ns = 1234567890 * SECOND_NS + 42,
			.peer = {.family = AF_INET,
				.port = htons(40000),
				.address = {192, 0, 2, (uint8_t)(1 + i)}},
		};
	}
	fake_send(&message, sizeof(message.header) + n * sizeof(message.connections[0]), copies, n);
	for (size_t i = 0; i < n; i++) {
		if (ret_copies)
			ret_copies[i] = copies[i];
		else
			close(copies[i]);
	}
}

int fake_give_one(void)
{
	int client;

	fake_give(1, &client, NULL);
	return client;
}

int fake_give_forwarded(const void *data, size_t size, int *ret_copy)
{
	struct wire_forwarded *message = &fake.message->forwarded;
	int pair[2];

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	*message = (struct wire_forwarded){
		.header.type = WIRE_FORWARDED,
		.connection =
			{
				.sequence = ++fake.sequence,
				.id = ++fake.id,
				.listener = WIRE_NO_LISTENER,
				.peer = {.family = AF_INET, .address = {192, 0, 2, 99}},
			},
		.from = "front",
		.n_hops = 1,
	};
	if (size > 0)
		memcpy(message->data, data, size);
	fake_send(message, sizeof(*message) + size, &pair[1], 1);
	if (ret_copy)
		*ret_copy = pair[1];
	else
		close(pair[1]);
	return pair[0];
}

struct usher *new_usher(uint32_t credit)
{
	const struct usher_options options = {
		.size = sizeof(options),
		.flags = USHER_NONBLOCK,
		.credit = credit,
		.name = "tester",
	};
	struct usher *u;

	assert_int_equal(usher_new(&u, "test", &options), 0);
	return u;
}

struct usher *new_registered(uint32_t credit)
{
	struct usher *u = new_usher(credit);

	assert_nothing_to_accept(u);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));
	return u;
}

void end_pause(struct usher *u, uint64_t pause_ns)
{
	assert_int_equal(clock_pause_ns(), pause_ns);
	clock_advance(pause_ns - 1);
	assert_false(is_readable(usher_fd(u)));
	clock_advance(1);
	wait_readable(usher_fd(u));
	assert_nothing_to_accept(u);
}

void reconnect(struct usher *u)
{
	clock_advance(5 * SECOND_NS);
	fake_hang_up();
	assert_nothing_to_accept(u);
	end_pause(u, 50 * MS_NS);
	fake_accept();
	fake_welcome();
	assert_nothing_to_accept(u);
}

void meet_again(struct usher *u)
{
	assert_nothing_to_accept(u);
	clock_advance(clock_pause_ns());
	assert_nothing_to_accept(u);
	fake_accept();
}

void welcome_again(struct usher *u)
{
	fake_welcome();
	assert_nothing_to_accept(u);
	assert_true(usher_is_registered(u));
}

void fill_channel(struct usher *u)
{
	for (int i = 0; i < 2000; i++)
		assert_int_equal(usher_set_status(u, "filling"), 0);
}

void fake_skip_filling(void)
{
	do
		fake_receive();
	while (fake.message->header.type == WIRE_STATUS);
}

void assert_shut_down(struct usher *u)
{
	struct usher_connection connection;

	wait_readable(usher_fd(u));
	assert_int_equal(usher_accept(u, &connection, 0), -ESHUTDOWN);
	assert_int_equal(usher_accept(u, &connection, 0), -ESHUTDOWN);
}

void assert_nothing_to_accept(struct usher *u)
{
	struct usher_connection connection;

	assert_int_equal(usher_accept(u, &connection, 0), -EAGAIN);
}

void accept_and_close(struct usher *u)
{
	struct usher_connection connection;

	assert_int_equal(usher_accept(u, &connection, 0), 0);
	assert_int_equal(usher_close(u, &connection), 0);
}
