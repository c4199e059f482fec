// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "live_patch.h"

static DEFINE_MUTEX(mutex);

/* The early return leaves the mutex held. */
static int show(struct seq_file *m, void *v)
{
	mutex_lock(&mutex);
	if (!m->count)
		return -EINVAL;
	mutex_unlock(&mutex);
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
