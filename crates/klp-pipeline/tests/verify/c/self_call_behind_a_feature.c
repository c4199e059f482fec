// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"
#include <asm/cpufeature.h>

static int show(const char *s, bool *res)
{
	if (static_cpu_has(X86_FEATURE_LA57)) {
		int got = kstrtobool(s, res);

		return got ? -EINVAL : 0;
	}
	return -EPERM;
}

LIVE_PATCH("kstrtobool", show);
