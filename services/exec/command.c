/* SPDX-License-Identifier: MIT */
/* From JSON to programs: see command.h. Texts stay where they are, in the JSON, of which each
 * program holds a reference. */
#include "command.h"

#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#define HIGHEST_NICE 19
#define LOWEST_NICE  (-20)

static const char *get_text(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

/* An array of texts? */
static bool is_list(const json_t *json)
{
	size_t i;
	json_t *item;

	json_array_foreach(json, i, item)
	{
		if (!json_is_string(item))
			return false;
	}
	return json_is_array(json);
}

static bool has_item(const json_t *list, const char *name)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		if (strcmp(json_string_value(item), name) == 0)
			return true;
	}
	return false;
}

static int take_arguments(struct command *command)
{
	const json_t *args = json_object_get(command->json, "args");
	size_t n = json_array_size(args);

	command->argv = calloc(n + 2, sizeof(*command->argv));
	if (!command->argv)
		return -ENOMEM;
	command->argv[0] = get_text(command->json, "name");
	for (size_t i = 0; i < n; i++)
		command->argv[i + 1] = json_string_value(json_array_get(args, i));
	return 0;
}

/* In the place of an earlier one of the same name. `assignment` is taken, also on failure; NULL:
 * there was no memory. */
static int set_variable(struct command *command, char *assignment)
{
	size_t length, i;

	if (!assignment)
		return -ENOMEM;
	if (environment_is_own(assignment)) {
		free(assignment);
		return 0;
	}
	length = strcspn(assignment, "=") + 1;
	for (i = 0; i < command->n_env; i++)
		if (strncmp(command->env[i], assignment, length) == 0)
			break;
	free(command->env[i]);
	command->env[i] = assignment;
	command->n_env += i == command->n_env;
	return 0;
}

/* A variable of this process, if there is one. */
static int pass_variable(struct command *command, const char *name)
{
	const char *value = getenv(name);
	char *assignment;

	if (!value)
		return 0;
	if (asprintf(&assignment, "%s=%s", name, value) < 0)
		return -ENOMEM;
	return set_variable(command, assignment);
}

static int take_environment(struct command *command)
{
	const json_t *env = json_object_get(command->json, "env");
	const json_t *pass_env = json_object_get(command->json, "pass_env");
	size_t n = 1 + json_array_size(env) + json_array_size(pass_env);
	int r;

	command->env = calloc(n, sizeof(*command->env));
	if (!command->env)
		return -ENOMEM;
	r = set_variable(command, strdup(DEFAULT_PATH));
	for (size_t i = 0; i < json_array_size(pass_env) && r >= 0; i++)
		r = pass_variable(command, json_string_value(json_array_get(pass_env, i)));
	for (size_t i = 0; i < json_array_size(env) && r >= 0; i++)
		r = set_variable(command, strdup(json_string_value(json_array_get(env, i))));
	return r;
}

static const struct {
	const char *name;
	int resource;
} resources[] = {
	{"as", RLIMIT_AS},
	{"core", RLIMIT_CORE},
	{"cpu", RLIMIT_CPU},
	{"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},
	{"memlock", RLIMIT_MEMLOCK},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"rss", RLIMIT_RSS},
	{"stack", RLIMIT_STACK},
};

static int find_resource(const char *name)
{
	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
		if (strcmp(resources[i].name, name) == 0)
			return resources[i].resource;
	return -1;
}

/* Later ones win in the kernel: those of the program come last. */
static int take_limits(
	struct command *command, const struct child_limit *common, size_t n_common, char *why)
{
	json_t *rlimits = json_object_get(command->json, "rlimits"), *value;
	const char *name;

	command->limits = calloc(n_common + json_object_size(rlimits) + 1, sizeof(*common));
	if (!command->limits)
		return -ENOMEM;
	for (size_t i = 0; i < n_common; i++)
		command->limits[command->n_limits++] = common[i];
	json_object_foreach(rlimits, name, value)
	{
		int resource = find_resource(name);
		rlim_t limit =
			json_is_integer(value) ? (rlim_t)json_integer_value(value) : RLIM_INFINITY;

		if (resource < 0) {
			(void)snprintf(why, COMMAND_WHY_SIZE,
				"this usher-exec does not know the rlimit '%s': it and usherd must "
				"be of one version",
				name);
			return -EINVAL;
		}
		command->limits[command->n_limits++] = (struct child_limit){
			.resource = resource, .value = {.rlim_cur = limit, .rlim_max = limit}};
	}
	return 0;
}

static void take_nice(struct command *command)
{
	int added = (int)json_integer_value(json_object_get(command->json, "nice"));
	int nice = getpriority(PRIO_PROCESS, 0) + added;

	command->has_nice = added != 0;
	command->nice = nice > HIGHEST_NICE  ? HIGHEST_NICE
			: nice < LOWEST_NICE ? LOWEST_NICE
					     : nice;
}

/* Returns 0, -ENOMEM, or -EINVAL with errno about the file; errno 0: it is none that can be sent.
 */
static int read_banner(struct command *command, int fd)
{
	struct stat status;
	ssize_t n;

	if (fstat(fd, &status) < 0)
		return -EINVAL;
	errno = 0;
	if (!S_ISREG(status.st_mode) || status.st_size > COMMAND_MAX_BANNER)
		return -EINVAL;
	command->banner = malloc(COMMAND_MAX_BANNER);
	if (!command->banner)
		return -ENOMEM;
	while ((n = read(fd, command->banner + command->banner_size,
			COMMAND_MAX_BANNER - command->banner_size)) > 0)
		command->banner_size += (size_t)n;
	return n < 0 ? -EINVAL : 0;
}

static int take_banner(struct command *command, char *why)
{
	const char *path = get_text(command->json, "banner");
	int fd, r;

	if (!path)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	r = fd < 0 ? -EINVAL : read_banner(command, fd);
	if (r == -EINVAL)
		(void)snprintf(why, COMMAND_WHY_SIZE, "cannot read the banner %s: %s", path,
			errno ? strerror(errno) : "expected a file of at most 64 KiB");
	if (fd >= 0)
		(void)close(fd);
	return r;
}

static void take_listeners(struct command *command)
{
	const json_t *listeners = json_object_get(command->json, "listeners");
	bool is_delivered = strcmp(get_text(command->json, "deliver"), "connection") == 0;
	size_t i;
	json_t *listener;

	/* Without any, connections come from other services. */
	command->has_connections = is_delivered && json_array_size(listeners) == 0;
	json_array_foreach(listeners, i, listener)
	{
		if (json_is_true(json_object_get(listener, "lent")))
			command->has_lent = true;
		else
			command->has_connections |= is_delivered;
	}
}

static void take_log(struct command *command)
{
	const json_t *items = json_object_get(command->json, "log_on_success");

	command->is_host_logged = has_item(items, "host") &&
				  strcmp(get_text(command->json, "log_address"), "full") == 0;
	command->is_pid_logged = has_item(items, "pid");
	command->is_exit_logged = has_item(items, "exit");
	command->is_duration_logged = has_item(items, "duration");
}

static int take_identity(struct command *command, char *why)
{
	if (command->chroot && geteuid() != 0) {
		(void)snprintf(why, COMMAND_WHY_SIZE,
			"for chroot usher-exec must be started by root, and it was started by uid "
			"%u: start it as root, or take chroot out of exec {}",
			geteuid());
		return -EINVAL;
	}
	return identity_find(&command->identity, get_text(command->json, "user"),
		get_text(command->json, "group"),
		json_is_true(json_object_get(command->json, "groups")), why, COMMAND_WHY_SIZE);
}

/* Of the right form, which all that follows relies upon? */
static bool is_program(json_t *json)
{
	json_t *args, *env, *pass_env, *rlimits, *listeners, *log;
	const char *unused;
	int integer;

	return json_unpack(json,
		       "{s:s, s:s, s:o, s:o, s:o, s:b, s:i, s:b, s:o, s:s, s:o, s:s, s:i, s:o, s:s}",
		       "program", &unused, "name", &unused, "args", &args, "env", &env, "pass_env",
		       &pass_env, "groups", &integer, "nice", &integer, "no_new_privs", &integer,
		       "rlimits", &rlimits, "directory", &unused, "listeners", &listeners,
		       "deliver", &unused, "instances", &integer, "log_on_success", &log,
		       "log_address", &unused) == 0 &&
	       is_list(args) && is_list(env) && is_list(pass_env) && is_list(log) &&
	       json_is_object(rlimits) && json_is_array(listeners) && integer > 0;
}

static int take_all(
	struct command *command, const struct child_limit *common, size_t n_common, char *why)
{
	const json_t *json = command->json, *umask = json_object_get(json, "umask");
	int r;

	command->path = get_text(json, "program");
	command->chroot = get_text(json, "chroot");
	command->directory = get_text(json, "directory");
	command->instances = (uint32_t)json_integer_value(json_object_get(json, "instances"));
	command->has_umask = json_is_integer(umask);
	command->umask = (mode_t)json_integer_value(umask);
	command->no_new_privs = json_is_true(json_object_get(json, "no_new_privs"));
	take_nice(command);
	take_listeners(command);
	take_log(command);
	r = take_arguments(command);
	if (r >= 0)
		r = take_environment(command);
	if (r >= 0)
		r = take_limits(command, common, n_common, why);
	if (r >= 0)
		r = take_identity(command, why);
	if (r >= 0)
		r = take_banner(command, why);
	return r;
}

static int command_new(struct command **ret, const char *service, json_t *json,
	const struct child_limit *common, size_t n_common, char *why)
{
	struct command *command = calloc(1, sizeof(*command));
	int r;

	if (!command)
		return -ENOMEM;
	command->n_references = 1;
	command->json = json_incref(json);
	command->service = strdup(service);
	r = command->service ? take_all(command, common, n_common, why) : -ENOMEM;
	if (r < 0) {
		command_unref(command);
		return r;
	}
	*ret = command;
	return 0;
}

struct command *command_ref(struct command *command)
{
	command->n_references++;
	return command;
}

struct command *command_unref(struct command *command)
{
	if (!command || --command->n_references > 0)
		return NULL;
	for (size_t i = 0; i < command->n_env; i++)
		free(command->env[i]);
	identity_done(&command->identity);
	json_decref(command->json);
	free(command->service);
	free(command->argv);
	free(command->env);
	free(command->limits);
	free(command->banner);
	free(command);
	return NULL;
}

bool command_equal(const struct command *a, const struct command *b)
{
	return json_equal(a->json, b->json) == 1;
}

static int add_failure(struct commands *commands, const char *service, const char *why)
{
	struct command_failure *failure = &commands->failures[commands->n_failures];

	failure->service = strdup(service);
	if (!failure->service)
		return -ENOMEM;
	(void)snprintf(failure->why, sizeof(failure->why), "%s", why);
	commands->n_failures++;
	return 0;
}

static int add_program(struct commands *commands, const char *service, json_t *json,
	const struct child_limit *common, size_t n_common)
{
	char why[COMMAND_WHY_SIZE];
	int r = command_new(&commands->list[commands->n], service, json, common, n_common, why);

	if (r == -EINVAL)
		return add_failure(commands, service, why);
	commands->n += r >= 0;
	return r;
}

/* Before anything is made of any. */
static bool is_document(json_t *json)
{
	json_t *services, *service;
	const char *name, *run_dir;

	if (json_unpack(json, "{s:s, s:o}", "run_dir", &run_dir, "services", &services) < 0 ||
		!json_is_object(services))
		return false;
	json_object_foreach(services, name, service)
	{
		if (!is_program(service))
			return false;
	}
	return true;
}

static int take_programs(
	struct commands *commands, json_t *json, const struct child_limit *common, size_t n_common)
{
	json_t *services = json_object_get(json, "services"), *service;
	size_t n = json_object_size(services);
	const char *name;
	int r;

	commands->run_dir = strdup(get_text(json, "run_dir"));
	commands->list = calloc(n + 1, sizeof(struct command *));
	commands->failures = calloc(n + 1, sizeof(*commands->failures));
	if (!commands->run_dir || !commands->list || !commands->failures)
		return -ENOMEM;
	json_object_foreach(services, name, service)
	{
		r = add_program(commands, name, service, common, n_common);
		if (r < 0)
			return r;
	}
	return 0;
}

int commands_parse(struct commands *ret, json_t *json, const struct child_limit *limits,
	size_t n_limits, char *why)
{
	struct commands commands = {0};
	int r;

	if (!is_document(json)) {
		(void)snprintf(why, COMMAND_WHY_SIZE,
			"this is not what 'usherd --programs' prints: usherd and usher-exec must "
			"be of one version");
		return -EINVAL;
	}
	r = take_programs(&commands, json, limits, n_limits);
	if (r < 0)
		commands_done(&commands);
	else
		*ret = commands;
	return r;
}

void commands_done(struct commands *commands)
{
	for (size_t i = 0; i < commands->n; i++)
		command_unref(commands->list[i]);
	for (size_t i = 0; i < commands->n_failures; i++)
		free(commands->failures[i].service);
	free(commands->list);
	free(commands->failures);
	free(commands->run_dir);
	*commands = (struct commands){0};
}

struct command *commands_find(const struct commands *commands, const char *service)
{
	for (size_t i = 0; i < commands->n; i++)
		if (strcmp(commands->list[i]->service, service) == 0)
			return commands->list[i];
	return NULL;
}
