# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_cmdline")
old=$(module_of "$KO_demo_v1")
new=$(module_of "$KO_demo_v2")

keep original /proc/cmdline
check "nothing speaks against the module" ends 0 quiet kpatch check "$KO_cmdline"
check "everything could be looked at" lacks "not checked" "$EVIDENCE/quiet"

phase ftrace
if echo 0 >/proc/sys/kernel/ftrace_enabled; then
	check "with ftrace off the load is refused" ends 4 ftrace kpatch load "$KO_cmdline"
	check "with the reason and the remedy" contains "sysctl kernel.ftrace_enabled=1" "$EVIDENCE/ftrace"
	check "the kernel says the same" ends 5 ftrace-kernel kpatch load --no-check "$KO_cmdline"
	check "its refusal is explained" contains "kernel.ftrace_enabled is 0" "$EVIDENCE/ftrace-kernel"
	echo 1 >/proc/sys/kernel/ftrace_enabled
else
	# Kernels of today do not let it be switched off any more.
	check "ftrace stays on" reads 1 /proc/sys/kernel/ftrace_enabled
fi

phase kprobe
echo 'p:entry cmdline_proc_show' >$TRACING/kprobe_events
# Behind what ftrace writes over: endbr64 and a call, a call alone, or arm64's three instructions and the next.
for inside in 9 5 16; do
	echo "p:inside cmdline_proc_show+$inside" >>$TRACING/kprobe_events 2>/dev/null && break
done
echo 1 >$TRACING/events/kprobes/enable
cat /proc/cmdline >/dev/null
check "both kprobes fire on the original" equals "1 1" "$(hits entry) $(hits inside)"
check "they are warnings" ends 0 kprobe kpatch load "$KO_cmdline"
check "one on the entry" contains "there is a kprobe on cmdline_proc_show: it still fires" "$EVIDENCE/kprobe"
check "one inside" contains "there is a kprobe inside cmdline_proc_show (at +$(printf 0x%x "$inside")): it no longer fires" "$EVIDENCE/kprobe"
cat /proc/cmdline >/dev/null
check "and that is what they do" equals "2 1" "$(hits entry) $(hits inside)"
check "the patch acts" reads "patched from Rust" /proc/cmdline
check "it is unloaded" kpatch unload "$module"
echo 0 >$TRACING/events/kprobes/enable
echo >$TRACING/kprobe_events

phase modified
# Only where kprobes go through ftrace do they stand in the way of a patch: not on arm64.
if [ "$ARCH" = x86_64 ]; then
	check "a kprobe with a post handler is set" insmod "$KO_module_klp_kprobe" has_post_handler=1
	check "the load is refused before the kernel is asked" ends 4 modified kpatch load "$KO_cmdline"
	check "with the reason" contains "cmdline_proc_show is already changed by another user of ftrace" "$EVIDENCE/modified"
	check "the kernel says the same" ends 5 modified-kernel kpatch load --no-check "$KO_cmdline"
	check "its refusal is explained" contains "another user of ftrace changes a function" "$EVIDENCE/modified-kernel"
	rmmod klp_kprobe
fi

phase states
check "a patch with a system state is loaded" kpatch load "$KO_selftest_state_v2"
check "one that knows it in a lower version is refused" ends 4 states kpatch load "$KO_selftest_state_v1"
check "with the reason" grep -q "has system state [0-9]* in version 2, this patch knows version 1" "$EVIDENCE/states"
check "the kernel says the same" ends 5 states-kernel kpatch load --no-check "$KO_selftest_state_v1"
check "its refusal is explained" contains "a loaded patch has a system state" "$EVIDENCE/states-kernel"
check "it is unloaded" kpatch unload "$(module_of "$KO_selftest_state_v2")"

phase older
check "the newer version is loaded" kpatch load "$KO_demo_v2"
check "the older one is refused" ends 4 older kpatch load "$KO_demo_v1"
check "with the reason" contains "$new of the same line is enabled, which is newer" "$EVIDENCE/older"
check "the newer one stays" listed "$new" enabled
check "unless it is meant" kpatch load --allow-older "$KO_demo_v1"
check "then it takes its place" listed "$old" enabled
kpatch unload "$old"
[ ! -d "/sys/module/$new" ] || kpatch unload "$new"
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/cmdline
