# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_cmdline")
patch=$PATCHES/$module

phase before
original=$(collected /proc/cmdline)
check "before: /proc/cmdline is the kernel's command line" contains "rdinit=/init" /proc/cmdline
check "before: no patch is there" unloaded "$module"

# The outputs stay with the evidence: `cargo xtask demo` shows them.
check "kpatch load succeeds" prints load.out kpatch load "$KO_cmdline" || exit
phase patched
check "/proc/cmdline comes from the replacement" reads "patched from Rust" /proc/cmdline
check "calls go through the livepatch trampoline" redirected cmdline_proc_show
check "the patch is enabled" attribute "$module" enabled 1
check "the transition is over" attribute "$module" transition 0
check "the kernel itself is the patched object" attribute "$module" vmlinux/patched 1
check "the replaced function is named in sysfs" ls -d "$patch/vmlinux/cmdline_proc_show,1"
case $RELEASE in
6.1.*) ;; # has no such file
*) check "the patch is cumulative" attribute "$module" replace 1 ;;
esac
check "kpatch list shows it enabled" listed "$module" enabled
kpatch list >"$EVIDENCE/list.out"

check "kpatch unload succeeds" prints unload.out kpatch unload "$module"
phase reverted
check "/proc/cmdline is the original, byte for byte" same "$original" /proc/cmdline
check "calls are no longer redirected" not_redirected cmdline_proc_show
check "nothing of the patch is left" unloaded "$module"
