// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

/* There is no path on which the patch is enabled. */
static int before(struct klp_object *object)
{
	return -EINVAL;
}

static struct klp_func functions[] = { { .old_name = "version_proc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .funcs = functions, .callbacks.pre_patch = before }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };
static int __init start(void) { return klp_enable_patch(&patch); }
static void __exit end(void) { }
module_init(start);
module_exit(end);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
