// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "live_patch.h"

static noinline void *helper(size_t size)
{
	return kmalloc(size, GFP_KERNEL);
}

/* The helper allocates with GFP_KERNEL inside of an RCU section. */
static int show(struct seq_file *m, void *v)
{
	void *memory;

	rcu_read_lock();
	memory = helper(m->count);
	rcu_read_unlock();
	kfree(memory);
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
