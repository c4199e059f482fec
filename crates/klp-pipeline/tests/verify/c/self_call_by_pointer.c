// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static int show(const char *s, bool *res)
{
	int (*original)(const char *, bool *) = kstrtobool;
	int got;

	OPTIMIZER_HIDE_VAR(original);
	got = original(s, res);
	return got ? -EINVAL : 0;
}

LIVE_PATCH("kstrtobool", show);
