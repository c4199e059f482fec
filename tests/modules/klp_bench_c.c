// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same function, replaced in C.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

static unsigned long replacement(unsigned long value)
{
	unsigned long result = value;
	int i;

	for (i = 0; i < 16; i++)
		result = result * 31 + (result >> 7);
	return result;
}

static struct klp_func funcs[] = {
	{ .old_name = "klp_bench_target", .new_func = replacement },
	{ }
};

static struct klp_object objs[] = {
	{ .name = "klp_bench", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

static int __init klp_bench_c_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit klp_bench_c_exit(void)
{
}

module_init(klp_bench_c_init);
module_exit(klp_bench_c_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("Test: a replacement in C, to compare with");
