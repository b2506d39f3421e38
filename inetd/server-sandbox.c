/* SPDX-License-Identifier: MIT */
/* Where usherd writes, and the way into its sandbox: see server-private.h. */
#include "server-private.h"

#include "array.h"
#include "background.h"
#include "log.h"
#include "sandbox.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

struct folders {
	char **paths;
	size_t n;
};

/* That of the file `path`, which is absolute. Returns whether there was memory. */
static bool add_folder(struct folders *folders, const char *path)
{
	size_t length = (size_t)(strrchr(path, '/') - path);
	char **slot = array_add(&folders->paths, &folders->n, sizeof(*slot));

	if (!slot)
		return false;
	*slot = strndup(path, length > 0 ? length : 1);
	if (!*slot)
		folders->n--;
	return *slot;
}

/* The path of a unix socket that is a file, or NULL. */
static const char *path_of(const struct address *address)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&address->sockaddr;

	return address->sockaddr.sa_family == AF_UNIX && un->sun_path[0] == '/' ? un->sun_path
										: NULL;
}

static bool add_service(struct folders *folders, const struct config_service *service)
{
	const char *path = service->log.type.path;
	bool r = !path || add_folder(folders, path);

	for (size_t i = 0; i < service->n_listen && r; i++) {
		path = path_of(&service->listen[i].address);
		r = !path || add_folder(folders, path);
	}
	return r;
}

/* Also of disabled services: a reload may enable them. */
static bool add_all(struct folders *folders, const struct config *config)
{
	bool r = !config->log_file || add_folder(folders, config->log_file);

	for (size_t i = 0; i < config->n_services && r; i++)
		r = add_service(folders, config->services[i]);
	return r;
}

static void free_folders(struct folders *folders)
{
	for (size_t i = 0; i < folders->n; i++)
		free(folders->paths[i]);
	free(folders->paths);
}

static struct sandbox_result enter(const struct server *server)
{
	struct folders folders = {0};
	struct sandbox_result result = {.system_calls = -ENOMEM, .files = -ENOMEM};
	char **run_dir = array_add(&folders.paths, &folders.n, sizeof(*run_dir));

	if (run_dir)
		*run_dir = strdup(server->config->run_dir);
	if (run_dir && *run_dir && add_all(&folders, server->config))
		result = sandbox_enter(&(struct sandbox){
			.program = server->program,
			.folders = (const char *const *)folders.paths,
			.n_folders = folders.n,
		});
	free_folders(&folders);
	return result;
}

static void report(int error, const char *what, const char *needed)
{
	const struct log_about about = {.reason = "sandbox", .error = error};

	if (error == -EOPNOTSUPP)
		log_write(LOG_NOTICE, &about, "no sandbox for %s: %s", what, needed);
	else if (error < 0)
		log_write(LOG_WARNING, &about, "no sandbox for %s: %s", what, strerror(-error));
}

/* One that an earlier usherd has entered stays, whatever the configuration says by now. */
void server_enter_sandbox(const struct server *server)
{
	struct sandbox_result result = {0};

	if (server->succession && server->succession->is_sandboxed)
		sandbox_adopt();
	else if (server->config->has_sandbox)
		result = enter(server);
	background_let_start(true);
	report(result.system_calls, "system calls",
		"the kernel has no seccomp, or usherd was built without libseccomp");
	report(result.files, "files", "the kernel has no Landlock, or it was not started with it");
}
