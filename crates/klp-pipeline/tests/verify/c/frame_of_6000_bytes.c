// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static int show(struct seq_file *m, void *v)
{
	char bytes[6000];

	memset(bytes, 1, sizeof(bytes));
	USED(bytes);
	seq_printf(m, "%d\n", bytes[77]);
	return 0;
}

LIVE_PATCH("version_proc_show", show);
