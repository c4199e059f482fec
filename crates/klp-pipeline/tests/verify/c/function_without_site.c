// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* lib/ is compiled without ftrace sites: EINVAL. */
SHOW_PATCHED

LIVE_PATCH("match_string", show);
