# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_demo")

keep cmdline /proc/cmdline
keep version /proc/version
check "kpatch load succeeds" kpatch load "$KO_demo" || exit
phase patched
check "the first fix acts" reads "patched from Rust" /proc/cmdline
check "the second fix acts" contains "nr_processes: " /proc/version
check "the first function is redirected" redirected cmdline_proc_show
check "the second function is redirected" redirected version_proc_show
check "one module does it" equals "$module" "$(ls $PATCHES)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the first original is back, byte for byte" same "$EVIDENCE/cmdline" /proc/cmdline
check "the second original is back, byte for byte" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded "$module"
