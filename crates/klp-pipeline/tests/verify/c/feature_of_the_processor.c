// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"
#include <asm/cpufeature.h>

/* Nothing is wrong: the test of the feature is outside of the function, and jumps back. */
static int show(struct seq_file *m, void *v)
{
	if (static_cpu_has(X86_FEATURE_LA57))
		seq_puts(m, "five levels\n");
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("version_proc_show", show);
