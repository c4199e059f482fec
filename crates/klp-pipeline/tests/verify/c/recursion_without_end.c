// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static noinline int descend(struct seq_file *m, int depth)
{
	int got;

	seq_puts(m, "down\n");
	got = descend(m, depth + 1);
	USED(&got);
	return got + 1;
}

static int show(struct seq_file *m, void *v)
{
	seq_printf(m, "%d\n", descend(m, 0));
	return 0;
}

LIVE_PATCH("version_proc_show", show);
