// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Each replacement calls what the other one replaces. */
static int first(const char *s, bool *res)
{
	unsigned int got = 0;
	int error = kstrtouint(s, 10, &got);

	*res = got;
	return error ? -EINVAL : 0;
}

static int second(const char *s, unsigned int base, unsigned int *res)
{
	bool got = false;
	int error = kstrtobool(s, &got);

	*res = got;
	return error ? -EINVAL : 0;
}

static struct klp_func functions[] = {
	{ .old_name = "kstrtobool", .new_func = first },
	{ .old_name = "kstrtouint", .new_func = second }, { }
};
static struct klp_object objects[] = { { .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };
static int __init start(void) { return klp_enable_patch(&patch); }
static void __exit end(void) { }
module_init(start);
module_exit(end);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
