// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

SHOW_PATCHED

/* There is no path on which the patch is enabled. */
static int before(struct klp_object *object)
{
	return -EINVAL;
}

static struct klp_func functions[] = { { .old_name = "version_proc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .funcs = functions, .callbacks.pre_patch = before }, { } };
LIVE_PATCH_OF(objects);
