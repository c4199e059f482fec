// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "live_patch.h"

static DEFINE_SPINLOCK(spin);
static DEFINE_MUTEX(mutex);

/* A mutex is waited for with a spinlock held. */
static int show(struct seq_file *m, void *v)
{
	spin_lock(&spin);
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
	spin_unlock(&spin);
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
