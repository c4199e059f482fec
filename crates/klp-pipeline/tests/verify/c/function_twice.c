// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Two replacements, of which one runs. */
SHOW_PATCHED

static struct klp_func functions[] = {
	{ .old_name = "version_proc_show", .new_func = show },
	{ .old_name = "version_proc_show", .new_func = show }, { }
};
static struct klp_object objects[] = { { .funcs = functions }, { } };
LIVE_PATCH_OF(objects);
