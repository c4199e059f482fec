// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/namei.h>
#include "live_patch.h"

/* lookup_bdev() is exported: no livepatch symbol is needed to call it. */
static int show(const char *s, dev_t *res)
{
	int got = lookup_bdev(s + 1, res);

	return got ? -EINVAL : 0;
}

LIVE_PATCH("lookup_bdev", show);
