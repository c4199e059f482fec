// SPDX-License-Identifier: GPL-2.0-only
#include <linux/blkdev.h>
#include <linux/namei.h>
#include "live_patch.h"

/* Each replacement calls what the other one replaces. */
static int first(const char *s, dev_t *res)
{
	struct path got;
	int error = kern_path(s, 10, &got);

	*res = error;
	return error ? -EINVAL : 0;
}

static int second(const char *s, unsigned int flags, struct path *res)
{
	dev_t got = 0;
	int error = lookup_bdev(s, &got);

	res->dentry = got ? NULL : res->dentry;
	return error ? -EINVAL : 0;
}

static struct klp_func functions[] = {
	{ .old_name = "lookup_bdev", .new_func = first },
	{ .old_name = "kern_path", .new_func = second }, { }
};
static struct klp_object objects[] = { { .funcs = functions }, { } };
LIVE_PATCH_OF(objects);
