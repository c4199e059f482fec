// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* lib/ is compiled without ftrace sites: EINVAL. */
static int show(struct seq_file *m, void *v)
{
	seq_puts(m, "patched\n");
	return 0;
}

LIVE_PATCH("match_string", show);
