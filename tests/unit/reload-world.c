/* SPDX-License-Identifier: MIT */
/* See reload-world.h. */
#include "reload-world.h"
#include "config-files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void on_ended(struct service *s, void *userdata)
{
	struct place *p = userdata;
	size_t i = 0;

	while (p->running.services[i] != s)
		i++;
	for (p->running.n_services--; i < p->running.n_services; i++)
		p->running.services[i] = p->running.services[i + 1];
	service_free(s);
	p->n_ended++;
}

static const struct service_events events = {.on_ended = on_ended};

int prepare(struct place *p, struct reload **ret, const struct config *config,
	struct inheritance *inherited, struct config_errors *errors)
{
	return reload_prepare(ret,
		&(struct reload_setting){
			.event = loop, .events = &events, .userdata = p, .inherited = inherited},
		&p->running, config, errors);
}

struct config *config_of(const char *services)
{
	size_t size = strlen(services) + TEXT_MAX;
	char *text = malloc(size);
	struct config *config;

	assert_non_null(text);
	snprintf(text, size, "run_dir = \"%s\"\n%s", in_folder("."), services);
	config = load_text(text);
	free(text);
	return config;
}

int start(struct place *p, const char *services, struct inheritance *inherited)
{
	struct config *config = config_of(services);
	struct reload *plan;
	int r;

	config_errors_done(&p->errors);
	p->errors = (struct config_errors){0};
	r = prepare(p, &plan, config, inherited, &p->errors);
	if (r < 0) {
		config_free(config);
		return r;
	}
	reload_commit(plan, &p->running, &p->counts);
	config_free(p->config);
	p->config = config;
	return 0;
}

int reload(struct place *p, const char *services)
{
	return start(p, services, NULL);
}

void begin(struct place *p, const char *services)
{
	*p = (struct place){0};
	if (reload(p, services) < 0)
		fail_msg("%s", p->errors.n_lines > 0 ? p->errors.lines[0] : "no error line");
}

void end(struct place *p)
{
	for (size_t i = 0; i < p->running.n_services; i++)
		service_free(p->running.services[i]);
	free(p->running.services);
	config_free(p->config);
	config_errors_done(&p->errors);
}

void check_counts(const struct place *p, size_t n_added, size_t n_removed, size_t n_kept)
{
	assert_int_equal(p->counts.n_added, n_added);
	assert_int_equal(p->counts.n_removed, n_removed);
	assert_int_equal(p->counts.n_changed + p->counts.n_unchanged, n_kept);
}

void check_names(const struct place *p, const char *expected)
{
	char names[256] = "";

	for (size_t i = 0; i < p->running.n_services; i++)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s%s",
			i > 0 ? " " : "", service_name(p->running.services[i]),
			service_is_ending(p->running.services[i]) ? "(ending)" : "");
	assert_string_equal(names, expected);
}

struct service *service_called(const struct place *p, const char *name)
{
	for (size_t i = 0; i < p->running.n_services; i++)
		if (strcmp(service_name(p->running.services[i]), name) == 0)
			return p->running.services[i];
	fail_msg("there is no service %s", name);
	return NULL;
}

const struct address *bound_of(const struct place *p, const char *name, size_t i)
{
	size_t n;
	struct listener *const *listeners =
		intake_listeners(service_intake(service_called(p, name)), &n);

	assert_true(i < n);
	return listener_bound(listeners[i]);
}

size_t n_listeners_of(const struct place *p, const char *name)
{
	size_t n;

	(void)intake_listeners(service_intake(service_called(p, name)), &n);
	return n;
}

ino_t inode_at(const struct address *address)
{
	ino_t inode = 0;

	for (int fd = 3; fd < 512; fd++) {
		struct address own = {.length = sizeof(own.storage)};
		struct stat st;
		int is_listening = 0;
		socklen_t size = sizeof(is_listening);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0 ||
			!is_listening || getsockname(fd, &own.sockaddr, &own.length) < 0 ||
			own.sockaddr.sa_family != address->sockaddr.sa_family)
			continue;
		own.type = address->type;
		own.is_wildcard = address->is_wildcard;
		if (!address_equal(&own, address))
			continue;
		assert_int_equal(inode, 0);
		assert_int_equal(fstat(fd, &st), 0);
		inode = st.st_ino;
	}
	return inode;
}

int connect_to(const struct address *address)
{
	int fd = socket(address->sockaddr.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &address->sockaddr, address->length), 0);
	return fd;
}

__attribute__((format(printf, 1, 2))) const char *text(const char *format, ...)
{
	static char texts[4][TEXT_MAX];
	static unsigned int i;
	char *result = texts[i++ % 4];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(result, TEXT_MAX, format, arguments);
	va_end(arguments);
	return result;
}
