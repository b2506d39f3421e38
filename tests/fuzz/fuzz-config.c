/* SPDX-License-Identifier: MIT */
/* Whatever stands in usher.conf: a configuration or at least one line that says why not, and no
 * leak. libFuzzer calls this. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_admission(const struct config *config, const struct config_service *service)
{
	const struct config_admission *admission = &service->admission;

	for (size_t i = 0; i < admission->n_rules; i++) {
		const struct network *network = &admission->rules[i].network;

		assert(admission->rules[i].text);
		assert(network->family == AF_UNSPEC ||
			network->n_bits <= (network->family == AF_INET ? 32 : 128));
	}
	for (size_t i = 0; i < admission->n_hours; i++)
		assert(admission->hours[i].first < 1440 && admission->hours[i].last <= 1440);
	assert(admission->cps.count == 0 || admission->cps.period_usec > 0);
	assert(admission->rate.count == 0 || admission->rate.period_usec > 0);
	assert(!admission->refused_to ||
		config_find_service(config, admission->refused_to) != service);
	assert(admission->source_bits_v4 <= 32 && admission->source_bits_v6 <= 128);
}

/* What usherd relies on without looking. */
static void check_service(const struct config *config, const struct config_service *service)
{
	assert(config_find_service(config, service->name) == service);
	assert(config_service_equal(service, service));
	assert(service->n_listen > 0 || service->is_forward_only);
	for (size_t i = 0; i < service->providers.n_forward; i++)
		assert(config_find_service(config, service->providers.forward[i]));
	check_admission(config, service);
	assert(!service->pass.path == (service->deliver != CONFIG_DELIVER_PASS));
	assert(service->log.type.type != CONFIG_LOG_TYPE_FILE || service->log.type.path);
	for (size_t i = 0; i < service->exec.n_rlimits; i++)
		assert(service->exec.program);
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
