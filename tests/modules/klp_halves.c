// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two functions that belong together: /proc/klp_halves has what the outer one and the inner one say. Between the two
 * halves the task may lose the processor, and sleeps for as long as parameter pause is set.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

static unsigned int pause;
module_param(pause, uint, 0644);

static noinline void klp_halves_inner(struct seq_file *m)
{
	seq_puts(m, "old\n");
}

static noinline int klp_halves_show(struct seq_file *m, void *v)
{
	seq_puts(m, "old ");
	if (!READ_ONCE(pause))
		schedule();
	while (READ_ONCE(pause))
		msleep(100);
	klp_halves_inner(m);
	return 0;
}

static int __init klp_halves_init(void)
{
	return proc_create_single("klp_halves", 0, NULL, klp_halves_show) ? 0 : -ENOMEM;
}

static void __exit klp_halves_exit(void)
{
	remove_proc_entry("klp_halves", NULL);
}

module_init(klp_halves_init);
module_exit(klp_halves_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: two functions that must change together");
