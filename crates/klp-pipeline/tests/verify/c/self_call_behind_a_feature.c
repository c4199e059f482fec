// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/namei.h>
#include "live_patch.h"
#include <asm/cpufeature.h>

static int show(const char *s, dev_t *res)
{
	if (static_cpu_has(X86_FEATURE_LA57)) {
		int got = lookup_bdev(s, res);

		return got ? -EINVAL : 0;
	}
	return -EPERM;
}

LIVE_PATCH("lookup_bdev", show);
