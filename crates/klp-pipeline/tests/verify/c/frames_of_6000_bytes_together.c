// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

#define LAYER(name, next)				\
	static noinline int name(struct seq_file *m)	\
	{						\
		char bytes[1900];			\
		int got;				\
							\
		USED(bytes);				\
		got = next(m);				\
		USED(bytes);				\
		return got + bytes[7];			\
	}

static noinline int last(struct seq_file *m)
{
	seq_puts(m, "patched\n");
	return 0;
}

LAYER(third, last)
LAYER(second, third)
LAYER(first, second)

static int show(struct seq_file *m, void *v)
{
	int got = first(m);

	seq_printf(m, "%d\n", got);
	return 0;
}

LIVE_PATCH("version_proc_show", show);
