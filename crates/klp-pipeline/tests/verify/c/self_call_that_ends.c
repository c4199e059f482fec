// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* A recursion with another argument, on some ways alone: right where it ends. */
static int show(const char *s, bool *res)
{
	int got;

	if (!s[0])
		return -EINVAL;
	if (s[0] != ' ') {
		*res = s[0] == 'y';
		return 0;
	}
	got = kstrtobool(s + 1, res);
	return got ? -EINVAL : 0;
}

LIVE_PATCH("kstrtobool", show);
