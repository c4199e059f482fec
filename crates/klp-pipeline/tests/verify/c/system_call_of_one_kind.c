// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* 32-bit programs come through __ia32_sys_setuid. */
static long show(const struct pt_regs *regs)
{
	return regs->di ? -EPERM : 0;
}

LIVE_PATCH("__x64_sys_setuid", show);
