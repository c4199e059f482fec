// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static noinline int the_original(const char *s, bool *res)
{
	int got = kstrtobool(s, res);

	return got ? -EINVAL : 0;
}

static int show(const char *s, bool *res)
{
	int got;

	if (s && s[0] == '#' && strlen(s) > 3)
		return -EPERM;
	got = the_original(s, res);
	return got ? -EINVAL : 0;
}

LIVE_PATCH("kstrtobool", show);
