// SPDX-License-Identifier: GPL-2.0-only
/*
 * A small function that the compiler inlines into a caller and keeps for a pointer: /proc/klp_inlined has what the caller
 * makes of it, /proc/klp_inlined_pointer what the pointer leads to. Another one is inlined, and kept though nothing calls it.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int asked = 9;
module_param(asked, int, 0644);

static int klp_inlined_limit(int value)
{
	return value > 3 ? 3 : value;
}

static __used int klp_inlined_kept(int value)
{
	return value < 0 ? 0 : value;
}

static int (*klp_inlined_through)(int value) = klp_inlined_limit;

static noinline int klp_inlined_show(struct seq_file *m, void *v)
{
	seq_printf(m, "limited to %d\n", klp_inlined_kept(klp_inlined_limit(READ_ONCE(asked))));
	return 0;
}

static int klp_inlined_pointer(struct seq_file *m, void *v)
{
	seq_printf(m, "limited to %d\n", READ_ONCE(klp_inlined_through)(READ_ONCE(asked)));
	return 0;
}

static int __init klp_inlined_init(void)
{
	if (!proc_create_single("klp_inlined", 0, NULL, klp_inlined_show))
		return -ENOMEM;
	if (proc_create_single("klp_inlined_pointer", 0, NULL, klp_inlined_pointer))
		return 0;
	remove_proc_entry("klp_inlined", NULL);
	return -ENOMEM;
}

static void __exit klp_inlined_exit(void)
{
	remove_proc_entry("klp_inlined_pointer", NULL);
	remove_proc_entry("klp_inlined", NULL);
}

module_init(klp_inlined_init);
module_exit(klp_inlined_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a function that is inlined and stands on its own");
