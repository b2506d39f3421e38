/* SPDX-License-Identifier: MIT */
/* Whatever stands in usher.conf: a configuration or at least one line that says why not, and no
 * leak. libFuzzer calls this. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What usherd relies on without looking. */
static void check_service(const struct config *config, const struct config_service *service)
{
	assert(config_find_service(config, service->name) == service);
	assert(config_service_equal(service, service));
	assert(service->n_listen > 0);
	for (size_t i = 0; i < service->providers.n_forward; i++)
		assert(config_find_service(config, service->providers.forward[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_errors errors = {0};
	struct config *config = NULL;
	char path[64];
	FILE *file;
	int r;

	(void)umask(022); /* a file that others may write to is refused unread */
	(void)snprintf(path, sizeof(path), "fuzz-%d.conf", (int)getpid());
	file = fopen(path, "w");
	if (!file)
		return 0;
	(void)fwrite(data, 1, size, file);
	(void)fclose(file);
	r = config_load(path, 1000, &config, &errors);
	assert(r == 0 ? config && errors.n_lines == 0 : r == -ENOMEM || errors.n_lines > 0);
	for (size_t i = 0; r == 0 && i < config->n_services; i++)
		check_service(config, config->services[i]);
	config_free(config);
	config_errors_done(&errors);
	(void)unlink(path);
	return 0;
}
