// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static const int limit = 7;

/* The kernel write-protects the constants of a module. */
static int show(struct seq_file *m, void *v)
{
	*(volatile int *)&limit = 8;
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
