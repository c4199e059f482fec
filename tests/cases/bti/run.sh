# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

keep original /proc/cmdline
dmesg >/tmp/boot.log
check "the processor has branch target identification, and the kernel uses it" contains "Branch Target Identification" /tmp/boot.log
check "and pointer authentication" contains "ddress authentication" /tmp/boot.log

check "kpatch load succeeds" kpatch load "$KO_cmdline" || exit
module=$(module_of "$KO_cmdline")
phase patched
check "/proc/cmdline comes from the replacement" reads "patched from Rust" /proc/cmdline
check "calls go through the livepatch trampoline" redirected cmdline_proc_show
check "kpatch unload succeeds" kpatch unload "$module" || exit
check "the original is back" same "$EVIDENCE/original" /proc/cmdline

check "a fix that calls what is not exported is loaded" kpatch load "$KO_peek" || exit
module=$(module_of "$KO_peek")
check "it shows the kernel's own variable" contains "saved_command_line: " /proc/version
check "it called the kernel's own function" contains "nr_processes: " /proc/version
check "kpatch unload succeeds again" kpatch unload "$module"
check "nothing of it is left" unloaded "$module"
