// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with one function to replace: what /proc/klp_target says.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static noinline int klp_target_show(struct seq_file *m, void *v)
{
	seq_printf(m, "%s: original\n", THIS_MODULE->name);
	return 0;
}

static int __init klp_target_init(void)
{
	return proc_create_single("klp_target", 0, NULL, klp_target_show) ? 0 : -ENOMEM;
}

static void __exit klp_target_exit(void)
{
	remove_proc_entry("klp_target", NULL);
}

module_init(klp_target_init);
module_exit(klp_target_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a function of a module, to be replaced");
