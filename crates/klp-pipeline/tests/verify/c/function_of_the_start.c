// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The code is freed after the start of the kernel. */
SHOW_PATCHED

LIVE_PATCH("parse_early_param", show);
