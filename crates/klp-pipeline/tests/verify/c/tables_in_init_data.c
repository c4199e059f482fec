// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

SHOW_PATCHED

LIVE_PATCH_IN(__initdata, "version_proc_show", show);
