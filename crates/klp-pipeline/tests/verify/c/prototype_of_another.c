// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The parameters of another function. */
static int show(struct file *file, unsigned int count)
{
	return file->f_flags & count ? -EINVAL : 0;
}

LIVE_PATCH("version_proc_show", show);
