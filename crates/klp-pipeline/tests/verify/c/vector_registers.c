// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The registers belong to the program that runs on the CPU. */
static int show(struct seq_file *m, void *v)
{
	asm volatile("pxor %xmm0, %xmm0");
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
