// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Each worker has the function on its stack for ever. */
static int show(void *worker)
{
	return worker ? -EINVAL : 0;
}

LIVE_PATCH("worker_thread", show);
