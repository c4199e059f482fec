// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH_IN(__initdata, "version_proc_show", show);
