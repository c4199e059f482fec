// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Nobody knows whether there will be a module of that name. */
SHOW_PATCHED

static struct klp_func functions[] = { { .old_name = "misc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .name = "binfmt_mics", .funcs = functions }, { } };
LIVE_PATCH_OF(objects);
