// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static noinline __cold int helper(struct seq_file *m)
{
	pr_err("the file is full\n");
	return m->count > 1;
}

static int show(struct seq_file *m, void *v)
{
	if (unlikely(m->count == m->size)) {
		pr_err("full\n");
		return helper(m);
	}
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
