// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kprobe on cmdline_proc_show. One with a post handler moves the instruction pointer, as a live patch does: the kernel
 * allows one of the two.
 */
#include <linux/kprobes.h>
#include <linux/module.h>

static bool has_post_handler = true;
module_param(has_post_handler, bool, 0444);

static void post_handler(struct kprobe *p, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe kp = {
	.symbol_name = "cmdline_proc_show",
};

static int __init klp_kprobe_init(void)
{
	if (has_post_handler)
		kp.post_handler = post_handler;
	return register_kprobe(&kp);
}

static void __exit klp_kprobe_exit(void)
{
	unregister_kprobe(&kp);
}

module_init(klp_kprobe_init);
module_exit(klp_kprobe_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a kprobe on a function that is replaced");
