// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/namei.h>
#include "live_patch.h"

static int show(const char *s, dev_t *res)
{
	int (*original)(const char *, dev_t *) = lookup_bdev;
	int got;

	OPTIMIZER_HIDE_VAR(original);
	got = original(s, res);
	return got ? -EINVAL : 0;
}

LIVE_PATCH("lookup_bdev", show);
