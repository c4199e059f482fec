// SPDX-License-Identifier: GPL-2.0-only
/*
 * A function to replace, and what 100000 calls of it take: /proc/klp_bench has nanoseconds. The loop around the calls is
 * measured too, the same for every replacement.
 */
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#define CALLS 100000

static noinline unsigned long klp_bench_target(unsigned long value)
{
	unsigned long result = value;
	int i;

	for (i = 0; i < 16; i++)
		result = result * 31 + (result >> 7);
	return result;
}

static int klp_bench_show(struct seq_file *m, void *v)
{
	unsigned long flags, value = 1;
	u64 start, end;
	int i;

	local_irq_save(flags);
	start = ktime_get_ns();
	for (i = 0; i < CALLS; i++)
		value = klp_bench_target(value);
	end = ktime_get_ns();
	local_irq_restore(flags);
	seq_printf(m, "%llu %lx\n", end - start, value);
	return 0;
}

static int __init klp_bench_init(void)
{
	return proc_create_single("klp_bench", 0, NULL, klp_bench_show) ? 0 : -ENOMEM;
}

static void __exit klp_bench_exit(void)
{
	remove_proc_entry("klp_bench", NULL);
}

module_init(klp_bench_init);
module_exit(klp_bench_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Test: what a call takes");
