// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static noinline int helper(struct seq_file *m)
{
	seq_puts(m, "patched\n");
	cond_resched();
	return m->count > 1;
}

static int show(struct seq_file *m, void *v)
{
	return helper(m);
}

LIVE_PATCH("version_proc_show", show);
