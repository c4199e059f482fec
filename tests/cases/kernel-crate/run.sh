# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

keep cmdline /proc/cmdline
keep version /proc/version

check "the form with our own core is loaded" kpatch load "$KO_cmdline" || exit
phase own-core
keep cmdline.own-core /proc/cmdline
check "it acts" reads "patched from Rust" /proc/cmdline
check "it is unloaded" kpatch unload "$(module_of "$KO_cmdline")" || exit
check "the original is back" same "$EVIDENCE/cmdline" /proc/cmdline

kernel_log_mark
check "the form with the kernel crate is loaded" kpatch load "$KO_cmdline_kernel" || exit
module=$(module_of "$KO_cmdline_kernel")
phase kernel-crate
kpatch info "$KO_cmdline_kernel" >/tmp/info
check "its manifest names the fix" grep -q "^fix: *cmdline-kernel: " /tmp/info
check "and the function" grep -q "vmlinux:cmdline_proc_show" /tmp/info
check "and the kernel's build" grep -q "^kernel build: *[0-9a-f]\{40\}$" /tmp/info
check "it behaves as the other does, byte for byte" same "$EVIDENCE/cmdline.own-core" /proc/cmdline
check "its calls go through the livepatch trampoline" redirected cmdline_proc_show
check "its replacement can be traced" grep -qx "livepatch_cmdline_proc_show \[$module\]" /sys/kernel/tracing/available_filter_functions
grep "\[$module\]" /proc/kallsyms >/tmp/symbols
check "the kernel lists its symbols" contains livepatch_cmdline_proc_show /tmp/symbols
check "and none of the compiler's labels" lacks " .L" /tmp/symbols
kernel_log_since >/tmp/log
check "the kernel crate printed its message, under the module's name" contains "$module: /proc/cmdline is read" /tmp/log
check "it is unloaded" kpatch unload "$module" || exit
phase unpatched
check "the original is back again" same "$EVIDENCE/cmdline" /proc/cmdline
check "nothing of it is left" unloaded "$module"

kernel_log_mark
check "the fix with a lock and an allocation is loaded" kpatch load "$KO_version_kernel" || exit
module=$(module_of "$KO_version_kernel")
printf '1\n4\n9\n16\n25\n' >/tmp/squares
check "it lists what it allocated" same /tmp/squares /proc/version
check "again, in memory of its own" same /tmp/squares /proc/version
kernel_log_since >/tmp/log
check "it printed what it did" contains "$module: 5 squares were allocated" /tmp/log
check "it is unloaded" kpatch unload "$module" || exit
check "the kernel answers itself again" same "$EVIDENCE/version" /proc/version
check "nothing of it is left" unloaded "$module"

check "a fix that calls the original is loaded" kpatch load "$KO_around_kernel" || exit
module=$(module_of "$KO_around_kernel")
{ cat "$EVIDENCE/cmdline"; echo "after the original"; } >/tmp/around
check "the original answers, and the replacement's line follows" same /tmp/around /proc/cmdline
check "it is unloaded" kpatch unload "$module"
check "the original answers alone" same "$EVIDENCE/cmdline" /proc/cmdline

kernel_log_mark
check "a fix with parameters and a tripwire is loaded" insmod "$KO_params_kernel" label=given || exit
module=$(module_of "$KO_params_kernel")
check "its transition ends" wait_until 30 settled "$module"
printf 'given\ngiven\n' >/tmp/given
check "it reads its parameters" same /tmp/given /proc/cmdline
echo 1 >"/sys/module/$module/parameters/limit"
check "and what was written to one" reads given /proc/cmdline
check "its tripwire counts both reads" reads 2 "/sys/module/$module/parameters/reads"
kernel_log_since >/tmp/log
check "and logs them" contains "$module: tripwire reads: " /tmp/log
check "it is unloaded" kpatch unload "$module"
check "the original answers once more" same "$EVIDENCE/cmdline" /proc/cmdline
