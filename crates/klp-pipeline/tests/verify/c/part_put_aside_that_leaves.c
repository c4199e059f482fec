// SPDX-License-Identifier: GPL-2.0-only
#include "live_patch.h"

/* The part of the replacement that is put aside ends in a jump. */
extern int show(struct seq_file *m, void *v);
extern int helper(struct seq_file *m);

int helper(struct seq_file *m)
{
	seq_puts(m, "patched\n");
	return 0;
}

asm("	.pushsection .text\n"
    "	.skip 16, 0x90\n"
    "	.globl show\n"
    "	.type show, @function\n"
    "show:\n"
    "	endbr64\n"
    "	test %rsi, %rsi\n"
    "	jne show.cold\n"
    "back:\n"
    "	xor %eax, %eax\n"
    "	jmp __x86_return_thunk\n"
    "	.size show, . - show\n"
    "	.skip 16, 0x90\n"
    "	.type show.cold, @function\n"
    "show.cold:\n"
    "	jmp helper\n"
    "	.size show.cold, . - show.cold\n"
    "	.popsection\n");

LIVE_PATCH("version_proc_show", show);
