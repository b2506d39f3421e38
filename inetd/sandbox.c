/* SPDX-License-Identifier: MIT */
/* Entering the sandbox: see sandbox.h. */
#include "sandbox-private.h"

#include <errno.h>

/* Of the process, like what they say. */
static bool is_entered, has_guarded_files;

/* Files first: the filter need not know what guards them. */
struct sandbox_result sandbox_enter(const struct sandbox *sandbox)
{
	struct sandbox_result result = {.files = sandbox_guard_files(sandbox)};

	result.system_calls = sandbox_filter_system_calls();
	is_entered = true;
	has_guarded_files = result.files == 0;
	return result;
}

void sandbox_adopt(void)
{
	is_entered = true;
	has_guarded_files = true; /* as far as one can know */
}

bool sandbox_is_entered(void)
{
	return is_entered;
}

const char *sandbox_hint(int error)
{
	if (has_guarded_files && error == -EACCES)
		return "; and a folder that its configuration did not name when it started is "
		       "closed to it by its sandbox: restart usherd";
	if (error == -EROFS)
		return "; if it is the unit that closes the folder to it, name the folder in "
		       "ReadWritePaths= ('systemctl edit usherd') and restart usherd";
	return "";
}
