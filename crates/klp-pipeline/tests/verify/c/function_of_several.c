// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Eight functions have that name: EINVAL. */
SHOW_PATCHED

LIVE_PATCH("status_show", show);
