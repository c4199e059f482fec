# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

lp=$(module_of "$KO_cmdline")

# attach <kind>: a BPF program on the replaced function.
attach() {
	workload 1 /tmp/stop "$1" cmdline_proc_show >"/tmp/$1" 2>&1 &
	_pid=$!
	wait_until 30 eval "cat /proc/$_pid/fdinfo/* 2>/dev/null | grep -q '^link_id:.*[1-9]'" && return
	cat "/tmp/$1"
	return 1
}

keep original /proc/cmdline
check "the patch is loaded" kpatch load "$KO_cmdline" || exit
check "it answers" reads "patched from Rust" /proc/cmdline
check "status has nothing against it" ends 0 before kpatch status --check
check "a BPF program at the entry is attached" attach fentry
check "the patch answers" reads "patched from Rust" /proc/cmdline
check "status has nothing against it" ends 0 fentry kpatch status --check
check "another one at the exit is attached" attach fexit
check "the fix is off" same "$EVIDENCE/original" /proc/cmdline
check "status is a warning" ends 1 monitor kpatch status --check
check "it names ftrace" contains "the kernel has switched ftrace off after an error of its own" "$EVIDENCE/monitor"
check "status says what follows" prints status kpatch status
check "in these words" contains "Bypassed:    the kernel has switched ftrace off" "$EVIDENCE/status"
dmesg >/tmp/log
check "the kernel's log has its error" contains "arch_ftrace_ops_list_func" /tmp/log
check "unload is refused" ends 4 unload kpatch unload "$lp"
check "with the reason" contains "can crash the kernel; reboot" "$EVIDENCE/unload"
check "so is another patch" ends 4 load kpatch load "$KO_peek"
check "with the reason" contains "live patching needs it; reboot" "$EVIDENCE/load"
check "the patch is still there" listed "$lp" enabled
echo c >/proc/sysrq-trigger
