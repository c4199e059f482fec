// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Nobody knows whether there will be a module of that name. */
static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

static struct klp_func functions[] = { { .old_name = "misc_show", .new_func = show }, { } };
static struct klp_object objects[] = { { .name = "binfmt_mics", .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };
static int __init start(void) { return klp_enable_patch(&patch); }
static void __exit end(void) { }
module_init(start);
module_exit(end);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
