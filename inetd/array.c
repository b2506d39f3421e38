/* SPDX-License-Identifier: MIT */
/* Arrays that grow at their end: see array.h. */
#include "array.h"

#include <stdlib.h>
#include <string.h>

void *array_add(void *array, size_t *n, size_t element_size)
{
	char *first;

	memcpy(&first, array, sizeof(first));
	if ((*n & (*n - 1)) == 0) { /* full: see the invariant */
		first = reallocarray(first, *n ? 2 * *n : 1, element_size);
		if (!first)
			return NULL;
		memcpy(array, &first, sizeof(first));
	}
	return memset(first + (*n)++ * element_size, 0, element_size);
}
