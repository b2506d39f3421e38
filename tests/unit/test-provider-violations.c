/* SPDX-License-Identifier: MIT */
/* A process that breaks the protocol: it gets nothing more, and nobody gets what it may still get.
 */
#include "loop.h"
#include "service-world.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

static enum provider_state state_of(const struct world *w, unsigned int number)
{
	return provider_of(w, number)->record->state;
}

static void check_service(const struct world *w)
{
	dispatch_check(service_dispatch(w->service));
}

#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif

/* Undo what spares usherd the descriptors of others where the kernel can (rendezvous.c). */
static void let_descriptors_through(const struct world *w, unsigned int number)
{
	(void)setsockopt(
		provider_of(w, number)->fd, SOL_SOCKET, SO_PASSRIGHTS, &(int){1}, sizeof(int));
}

static void say_bytes(struct peer *p, const void *bytes, size_t size)
{
	assert_int_equal(send(p->fd, bytes, size, MSG_NOSIGNAL), size);
}

static void be_too_long(struct peer *p)
{
	static const char bytes[WIRE_MAX_FROM_PROVIDER + 1];

	say_bytes(p, bytes, sizeof(bytes));
}

static void send_a_descriptor(struct peer *p)
{
	union wire_message m = {.drain = {.header = {.type = WIRE_DRAIN}}};

	assert_int_equal(fdpass_send(p->fd, &m, sizeof(m.drain), &p->fd, 1), 0);
}

static void be_of_no_type(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, 99, &m, sizeof(m.drain));
}

static void speak_as_usherd(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, WIRE_DRAINING, &m, sizeof(m.drain));
}

static void be_too_short(struct peer *p)
{
	union wire_message m = {.bytes = {0}};

	say(p, WIRE_CLAIM, &m, sizeof(m.drain));
}

static void be_empty(struct peer *p)
{
	say_bytes(p, "", 0);
}

static void stop_sending(struct peer *p)
{
	assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
}

static void say_hello_again(struct peer *p)
{
	say_hello(p, 1);
}

static void claim_too_much(struct peer *p)
{
	claim(p, 1000);
}

static void release_what_is_not_its_own(struct peer *p)
{
	release(p, 4711);
}

static void credit_from_the_future(struct peer *p)
{
	credit(p, 1000, 1);
}

static void decline_too_much(struct peer *p)
{
	decline(p, 1000, 1000);
}

struct violation {
	void (*commit)(struct peer *p);
	const char *why;
};

static const struct violation violations[] = {
	{be_too_long, "a message that is too long"},
	{send_a_descriptor, "the message carries more descriptors than it may"},
	{be_of_no_type, "type"},
	{speak_as_usherd, "type"},
	{be_too_short, "the length of the message does not fit its type"},
	{be_empty, "broke the protocol: an empty message"},
	{say_hello_again, "HELLO was said before"},
	{claim_too_much, "CLAIM of what is not its own"},
	{release_what_is_not_its_own, "RELEASE of what is not its own"},
	{credit_from_the_future, "CREDIT of what is not its own"},
	{decline_too_much, "DECLINE of what is not its own"},
};

static void check_was_logged(const struct violation *v, unsigned int n_before)
{
	assert_int_equal(n_logged("broke the protocol: "), n_before + 1);
	if (n_logged(v->why) == 0)
		fail_msg("'%s' was not logged", v->why);
}

static void test_who_breaks_the_protocol_with_nothing_unclaimed_is_closed(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	for (size_t i = 0; i < N_ELEMENTS(violations); i++) {
		unsigned int n_before = n_logged("broke the protocol: ");

		join(&w, &p, 1);
		let_descriptors_through(&w, (unsigned int)i + 1);
		violations[i].commit(&p);
		expect_end(&p);
		check_was_logged(&violations[i], n_before);
		assert_null(service_providers(w.service));
	}
	end(&w);
}

static void test_who_breaks_the_protocol_with_connections_unclaimed_is_quarantined(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	for (size_t i = 0; i < N_ELEMENTS(violations); i++) {
		unsigned int n_before = n_logged("broke the protocol: ");

		begin(&w);
		open_service(&w);
		join(&w, &p, 10);
		clients(&w, "ab");
		(void)turn_while_ready();
		let_descriptors_through(&w, 1);
		violations[i].commit(&p);
		(void)turn_while_ready();
		check_was_logged(&violations[i], n_before);
		assert_int_equal(state_of(&w, 1), PROVIDER_QUARANTINED);

		join(&w, &other, 10);
		clients(&w, "c");
		expect_connections(&other, "c"); /* and nothing of the first's */
		expect_nothing(&other);
		expect_connections(&p, "ab"); /* its queue is whole, and then comes the end */
		expect_end(&p);
		expect_connections(&other, "ab");
		assert_null(provider_of(&w, 1));
		check_service(&w);
		leave(&other);
		end(&w);
	}
}

static void test_claims_of_a_quarantined_provider_count(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "abc");
	expect_connections(&p, "abc");
	be_of_no_type(&p);
	(void)turn_while_ready();
	claim(&p, 2);
	credit(&p, 3, 50); /* this does not */
	claim(&p, 1000);   /* nor this */
	leave(&p);
	join(&w, &other, 10);
	expect_connections(&other, "c");
	assert_false(is_connected(&w, 0) || is_connected(&w, 1));
	leave(&other);
	end(&w);
}

static void test_claims_in_the_same_turn_as_the_offence_count(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "ab");
	expect_connections(&p, "ab");
	be_of_no_type(&p);
	claim(&p, 1);
	turn_until(!is_connected(&w, 0));
	leave(&p);
	join(&w, &other, 10);
	expect_connections(&other, "b");
	leave(&other);
	end(&w);
}

static void send_descriptors(struct peer *p, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		send_a_descriptor(p);
}

/* All of it is read together, and nobody is there any more for the most of it. */
static void test_what_is_behind_the_offence_of_who_is_gone_is_closed(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	for (unsigned int n = 1; n <= 20; n++) {
		join(&w, &p, 1);
		let_descriptors_through(&w, n);
		credit(&p, 0, 1);
		be_of_no_type(&p);
		send_descriptors(&p, n);
		credit(&p, 0, 1);
		expect_end(&p);
		assert_int_equal(n_logged("broke the protocol: "), n);
		assert_null(service_providers(w.service));
	}
	end(&w);
}

static void test_claims_among_descriptors_that_nobody_asked_for_count(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	let_descriptors_through(&w, 1);
	clients(&w, "abcd");
	expect_connections(&p, "abcd");
	claim(&p, 1);
	send_descriptors(&p, 3);
	claim(&p, 2);
	send_descriptors(&p, 20);
	claim(&p, 3); /* is read when it closes */
	turn_until(!is_connected(&w, 1));
	assert_int_equal(state_of(&w, 1), PROVIDER_QUARANTINED);
	assert_int_equal(n_logged("broke the protocol: "), 1);
	leave(&p);
	join(&w, &other, 10);
	expect_connections(&other, "d");
	assert_false(is_connected(&w, 2));
	leave(&other);
	end(&w);
}

/* The end looks as it does without one. */
static void test_descriptor_of_an_empty_last_message_is_closed(void **state)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct msghdr message = {.msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int))};
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 1);
	let_descriptors_through(&w, 1);
	control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &(int){STDIN_FILENO}, sizeof(int));
	assert_int_equal(sendmsg(p.fd, &message, MSG_NOSIGNAL), 0);
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

static void test_a_first_message_that_is_not_hello(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	connect_peer(&w, &p);
	credit(&p, 0, 1);
	expect_end(&p);
	assert_int_equal(n_logged("broke the protocol: its first message is not HELLO"), 1);
	connect_peer(&w, &p);
	be_empty(&p);
	expect_end(&p);
	assert_null(service_providers(w.service));
	end(&w);
}

static void test_a_quarantined_provider_costs_no_turns(void **state)
{
	struct world w;
	struct peer p;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	(void)turn_while_ready();
	be_of_no_type(&p);
	(void)turn_while_ready();
	claim(&p, 1); /* is read when it closes */
	assert_int_equal(turn_while_ready(), 0);
	leave(&p);
	turn_until(!service_providers(w.service));
	end(&w);
}

/* It can claim nothing any more, so what it has not claimed is for others. */
static void test_who_stops_sending_has_left(void **state)
{
	struct world w;
	struct peer p, other;

	(void)state;
	begin(&w);
	open_service(&w);
	join(&w, &p, 10);
	clients(&w, "a");
	expect_connections(&p, "a");
	stop_sending(&p);
	expect_end(&p);
	assert_int_equal(n_logged("broke the protocol"), 0);
	turn_until(!service_providers(w.service));
	join(&w, &other, 10);
	expect_connections(&other, "a");
	leave(&other);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		check_loop_test(test_who_breaks_the_protocol_with_nothing_unclaimed_is_closed),
		check_loop_test(
			test_who_breaks_the_protocol_with_connections_unclaimed_is_quarantined),
		check_loop_test(test_claims_of_a_quarantined_provider_count),
		check_loop_test(test_claims_in_the_same_turn_as_the_offence_count),
		check_loop_test(test_what_is_behind_the_offence_of_who_is_gone_is_closed),
		check_loop_test(test_claims_among_descriptors_that_nobody_asked_for_count),
		check_loop_test(test_descriptor_of_an_empty_last_message_is_closed),
		check_loop_test(test_a_first_message_that_is_not_hello),
		check_loop_test(test_a_quarantined_provider_costs_no_turns),
		check_loop_test(test_who_stops_sending_has_left),
	};

	return cmocka_run_group_tests_name("provider-violations", tests, NULL, NULL);
}
