// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Nothing is wrong: the replacement never returns. */
static int show(struct seq_file *m, void *v)
{
	BUG();
}

LIVE_PATCH("version_proc_show", show);
