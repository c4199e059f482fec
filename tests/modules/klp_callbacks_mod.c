// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that only comes and goes: callbacks are for it.
 */
#include <linux/module.h>

static int __init klp_callbacks_mod_init(void)
{
	pr_info("%s: %s\n", THIS_MODULE->name, __func__);
	return 0;
}

static void __exit klp_callbacks_mod_exit(void)
{
	pr_info("%s: %s\n", THIS_MODULE->name, __func__);
}

module_init(klp_callbacks_mod_init);
module_exit(klp_callbacks_mod_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: a module that callbacks are for");
