// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The start of the module forgets the patch. */
SHOW_PATCHED

static struct klp_func functions[] = { { .old_name = "version_proc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };
MODULE_THAT_STARTS({ USED(&patch); return 0; });
