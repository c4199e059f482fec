// SPDX-License-Identifier: GPL-2.0-only
/* Warnings: the C half of klp::core::warn. */
#include <linux/bug.h>
#include <linux/panic.h>
#include <linux/printk.h>

void klp_shim_warn_at(const char *file, int line)
{
	pr_warn(CUT_HERE);
	__warn(file, line, __builtin_return_address(0), TAINT_WARN, NULL, NULL);
}
