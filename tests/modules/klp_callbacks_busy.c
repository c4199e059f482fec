// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module with a kernel thread that stays in its function, asleep, for as long as parameter block is set: it holds a
 * transition back.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/workqueue.h>

static bool block;
module_param(block, bool, 0644);

static void busymod_work_func(struct work_struct *work);
static DECLARE_WORK(work, busymod_work_func);
static DECLARE_COMPLETION(started);

static noinline void busymod_work_func(struct work_struct *work)
{
	pr_info("%s: %s enter\n", THIS_MODULE->name, __func__);
	complete(&started);
	while (READ_ONCE(block))
		msleep(20);
	pr_info("%s: %s exit\n", THIS_MODULE->name, __func__);
}

static int __init klp_callbacks_busy_init(void)
{
	pr_info("%s: %s\n", THIS_MODULE->name, __func__);
	schedule_work(&work);
	/* The function is running when the module is there, whatever comes next. */
	wait_for_completion(&started);
	if (!READ_ONCE(block))
		flush_work(&work);
	return 0;
}

static void __exit klp_callbacks_busy_exit(void)
{
	WRITE_ONCE(block, false);
	flush_work(&work);
	pr_info("%s: %s\n", THIS_MODULE->name, __func__);
}

module_init(klp_callbacks_busy_init);
module_exit(klp_callbacks_busy_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a function that is not left");
