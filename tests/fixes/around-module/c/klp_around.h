/* SPDX-License-Identifier: GPL-2.0-only */
/* Structs of tests/modules/klp_around.c. */
#include <linux/types.h>

struct klp_around_quad {
	u64 a, b, c, d;
};

struct klp_around_pair {
	u64 low, high;
};
