// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The kernel has no function of that name: EINVAL. */
SHOW_PATCHED

LIVE_PATCH("version_proc_shwo", show);
