// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "live_patch.h"

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(mutex);

static noinline int take(struct seq_file *m)
{
	spin_lock(&spin);
	if (m->count) {
		spin_unlock(&spin);
		return -EAGAIN;
	}
	return 0;
}

/* Locks of both kinds, under conditions and in a helper; allocations that do not sleep. */
static int show(struct seq_file *m, void *v)
{
	void *memory;
	int error;

	mutex_lock(&mutex);
	spin_lock(&spin);
	memory = kmalloc(m->count, GFP_ATOMIC);
	spin_unlock(&spin);
	kfree(memory);
	memory = kmalloc(m->count, GFP_KERNEL);
	mutex_unlock(&mutex);
	kfree(memory);
	error = take(m);
	if (error)
		return error;
	spin_unlock(&spin);
	if (spin_trylock(&spin))
		spin_unlock(&spin);
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
