// SPDX-License-Identifier: GPL-2.0-only
/*
 * A table behind a mutex, and a count behind a spinlock: /proc/klp_locked has the entry that the parameter `index` names,
 * /proc/klp_locked_state says whether the mutex is held and how often the table was looked into.
 */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

static unsigned int index;
module_param(index, uint, 0644);

static DEFINE_MUTEX(klp_locked_mutex);
static DEFINE_SPINLOCK(klp_locked_spinlock);
static unsigned int klp_locked_count;
static int klp_locked_table[4] = { 10, 11, 12, 13 };

static noinline int klp_locked_show(struct seq_file *m, void *v)
{
	unsigned long flags;

	mutex_lock(&klp_locked_mutex);
	spin_lock_irqsave(&klp_locked_spinlock, flags);
	klp_locked_count++;
	spin_unlock_irqrestore(&klp_locked_spinlock, flags);
	seq_printf(m, "original %d\n", READ_ONCE(klp_locked_table[READ_ONCE(index) & 3]));
	mutex_unlock(&klp_locked_mutex);
	return 0;
}

static int klp_locked_state(struct seq_file *m, void *v)
{
	seq_printf(m, "mutex %s\nspinlock %s\ncount %u\n", mutex_is_locked(&klp_locked_mutex) ? "held" : "free",
		   spin_is_locked(&klp_locked_spinlock) ? "held" : "free", READ_ONCE(klp_locked_count));
	return 0;
}

static int __init klp_locked_init(void)
{
	if (!proc_create_single("klp_locked", 0, NULL, klp_locked_show))
		return -ENOMEM;
	if (proc_create_single("klp_locked_state", 0, NULL, klp_locked_state))
		return 0;
	remove_proc_entry("klp_locked", NULL);
	return -ENOMEM;
}

static void __exit klp_locked_exit(void)
{
	remove_proc_entry("klp_locked_state", NULL);
	remove_proc_entry("klp_locked", NULL);
}

module_init(klp_locked_init);
module_exit(klp_locked_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: locks that a live patch takes");
