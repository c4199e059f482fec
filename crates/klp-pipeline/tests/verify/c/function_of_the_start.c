// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The code is freed after the start of the kernel. */
static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("parse_early_param", show);
