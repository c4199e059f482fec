// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* kstrtobool() is exported: no livepatch symbol is needed to call it. */
static int show(const char *s, bool *res)
{
	int got = kstrtobool(s + 1, res);

	return got ? -EINVAL : 0;
}

LIVE_PATCH("kstrtobool", show);
