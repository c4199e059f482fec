// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Replaces cmdline_proc_show with a constant text. cmdline_c.ko is this file, built out of tree with Debian's
 * linux-headers-6.12.117+deb12-amd64 and CONFIG_DEBUG_INFO_BTF_MODULES= on the make line, then `strip -g`.
 */
#include <linux/module.h>
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/seq_file.h>

static int patched_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s\n", "patched from C");
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = patched_cmdline_proc_show },
	{ }
};
static struct klp_object objs[] = { { .funcs = funcs }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs, .replace = true };

static int cmdline_init(void) { return klp_enable_patch(&patch); }
static void cmdline_exit(void) { }
module_init(cmdline_init);
module_exit(cmdline_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("kpatch test data");
MODULE_INFO(livepatch, "Y");
