// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* Nothing is wrong: a switch, a part that is put aside (.cold), an end that does not return, a bounded loop. */
static noinline int helper(struct seq_file *m, int way)
{
	switch (way) {
	case 0: seq_puts(m, "a"); return 7;
	case 1: seq_puts(m, "bb"); return 11;
	case 2: seq_puts(m, "ccc"); return 1;
	case 3: seq_puts(m, "dddd"); return 3;
	case 4: seq_puts(m, "eeeee"); return 9;
	case 5: seq_puts(m, "ffffff"); return 2;
	}
	return 0;
}

static int show(struct seq_file *m, void *v)
{
	int i, sum = 0;

	BUG_ON(!m);
	if (WARN_ON(m->count > m->size)) {
		pr_err("right: the file is full\n");
		return -EINVAL;
	}
	for (i = 0; i < 6; i++)
		sum += helper(m, i ^ (int)m->count);
	seq_printf(m, "%d\n", sum);
	return 0;
}

LIVE_PATCH("version_proc_show", show);
