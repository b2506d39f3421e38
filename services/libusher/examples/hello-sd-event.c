/* SPDX-License-Identifier: MIT */
/*
 * hello-sd-event: the registration as a source of sd-event(3). SIGTERM ends it without losing a
 * client: it asks for no more connections, and leaves when the last one was served.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <usher.h>

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct usher *usher = userdata;
	struct usher_connection connection;
	int r;

	(void)fd;
	(void)events;
	while ((r = usher_accept(usher, &connection, SOCK_NONBLOCK)) == 0) {
		send(connection.fd, "Hello.\n", strlen("Hello.\n"), MSG_NOSIGNAL);
		usher_close(usher, &connection);
	}
	if (r == -ESHUTDOWN)
		return sd_event_exit(sd_event_source_get_event(source), 0);
	if (r != -EAGAIN)
		fprintf(stderr, "hello-sd-event: %s\n", strerror(-r));
	return 0; /* a negative value would disable the source */
}

static int on_sigterm(
	sd_event_source *source, const struct signalfd_siginfo *signal_info, void *userdata)
{
	(void)source;
	(void)signal_info;
	usher_drain(userdata);
	return 0;
}

static int run(sd_event *event, struct usher *usher)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_add_signal(event, NULL, SIGTERM, on_sigterm, usher);
	if (r >= 0)
		r = sd_event_add_io(event, NULL, usher_fd(usher), EPOLLIN, on_readable, usher);
	return r < 0 ? r : sd_event_loop(event);
}

int main(void)
{
	const struct usher_options options = {.size = sizeof(options), .flags = USHER_NONBLOCK};
	struct usher *usher = NULL;
	sd_event *event = NULL;
	int r = usher_new(&usher, "hello", &options);

	if (r >= 0)
		r = sd_event_default(&event);
	if (r >= 0)
		r = run(event, usher);
	if (r < 0)
		fprintf(stderr, "hello-sd-event: %s\n", strerror(-r));
	sd_event_unref(event);
	usher_free(usher);
	return r < 0;
}
