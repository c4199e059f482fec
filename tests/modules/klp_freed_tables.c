// SPDX-License-Identifier: GPL-2.0-only
/* A live patch in C whose tables are in memory of its start: see tests/crashes/patch-table. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

static struct klp_func functions[] __initdata = {
	{ .old_name = "version_proc_show", .new_func = show }, { }
};

static struct klp_object objects[] __initdata = {
	{ .funcs = functions }, { }
};

static struct klp_patch patch __initdata = {
	.mod = THIS_MODULE,
	.objs = objects,
	.replace = true,
};

static int __init klp_freed_tables_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit klp_freed_tables_exit(void)
{
}

module_init(klp_freed_tables_init);
module_exit(klp_freed_tables_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Test: a live patch whose tables are freed");
