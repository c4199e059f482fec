// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module as of a vendor, which the kernel's build does not know. Each read of /proc/vendor_ring fills a ring, and prints its length
 * and whether it was refused. The ring takes more than its capacity: that is the fault that fix vendor-ring repairs.
 */
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

struct vendor_ring {
	u32 length;
	u32 capacity;
	const char *name;
};

static unsigned int more = 400;
module_param(more, uint, 0644);
MODULE_PARM_DESC(more, "Bytes that a read adds");

static struct vendor_ring the_ring = { .capacity = 1000, .name = "ring" };

int vendor_ring_fill(struct vendor_ring *ring, u64 bytes);
noinline int vendor_ring_fill(struct vendor_ring *ring, u64 bytes)
{
	/* The compiler must not know the result: it would take it for the replacement's too. */
	if (bytes > INT_MAX)
		return -EINVAL;
	ring->length += bytes;
	return 0;
}

static int vendor_ring_show(struct seq_file *m, void *v)
{
	int error = vendor_ring_fill(&the_ring, more);

	seq_printf(m, "%s %u %d\n", the_ring.name, the_ring.length, error);
	return 0;
}

static int __init vendor_ring_init(void)
{
	return proc_create_single("vendor_ring", 0444, NULL, vendor_ring_show) ? 0 : -ENOMEM;
}

static void __exit vendor_ring_exit(void)
{
	remove_proc_entry("vendor_ring", NULL);
}

module_init(vendor_ring_init);
module_exit(vendor_ring_exit);
MODULE_DESCRIPTION("Test: module of a vendor");
MODULE_LICENSE("GPL");
