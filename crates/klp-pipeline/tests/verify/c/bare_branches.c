// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

int (*volatile hook)(void);

/* Compiled without the flags of the kernel: see the makefile of the test. */
static int show(struct seq_file *m, void *v)
{
	if (hook)
		hook();
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
