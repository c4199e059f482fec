// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The kernel waits for a module of that name. */
SHOW_PATCHED

static struct klp_func functions[] = { { .old_name = "version_proc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .name = "vmlinux", .funcs = functions }, { } };
LIVE_PATCH_OF(objects);
