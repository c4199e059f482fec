// SPDX-License-Identifier: GPL-2.0-only
#include <linux/kthread.h>
#include "live_patch.h"

static int work(void *data)
{
	while (!kthread_should_stop())
		schedule();
	return 0;
}

/* Nobody stops the thread before the module goes. */
static int show(struct seq_file *m, void *v)
{
	struct task_struct *task = kthread_create(work, NULL, "work");

	if (!IS_ERR(task))
		wake_up_process(task);
	return 0;
}

LIVE_PATCH("version_proc_show", show);
