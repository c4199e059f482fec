// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* As a header of another kernel has it. */
#line 1 "include/linux/pipe_fs_i.h"
struct pipe_buffer {
	struct page *page;
	unsigned int len, offset;
};
#line 13 "layout_of_another_kernel.c"

static int show(struct seq_file *m, void *v)
{
	struct pipe_buffer *buffer = v;

	seq_printf(m, "%u\n", buffer->len);
	return 0;
}

LIVE_PATCH("version_proc_show", show);
