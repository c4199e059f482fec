// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

static int show(struct seq_file *m, void *v)
{
	return m->op->show(m, v);
}

LIVE_PATCH("version_proc_show", show);
