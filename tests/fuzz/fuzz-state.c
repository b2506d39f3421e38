/* SPDX-License-Identifier: MIT */
/* Whatever is said to be the state of an usherd: a state that is written again as it was read, or a
 * sentence that says why not, and no leak. libFuzzer calls this. */
#include "succession.h"

#include <assert.h>
#include <errno.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An older format is written in the present one, which is read again. */
static void check_again(const struct succession *succession)
{
	json_t *json = succession_json(succession), *again;
	struct succession *second = NULL;
	char why[256];

	json_object_set_new(json, "format", json_integer(SUCCESSION_FORMAT));
	assert(succession_parse(&second, json, why, sizeof(why)) == 0);
	again = succession_json(second);
	assert(json_equal(json, again));
	json_decref(again);
	json_decref(json);
	succession_free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
	struct succession *succession = NULL;
	char why[256] = "";
	int r;

	if (!json)
		return 0;
	r = succession_parse(&succession, json, why, sizeof(why));
	assert(r == 0 ? succession && why[0] == '\0' : r == -EINVAL && why[0] != '\0');
	if (r == 0)
		check_again(succession);
	succession_free(succession);
	json_decref(json);
	return 0;
}
