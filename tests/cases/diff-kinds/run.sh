# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_diff_kinds")

# second: the line of /proc/version that the diff adds.
second() {
	sed -n 2p /proc/version
}

# first_reads: how often the once-flag let its message through.
first_reads() {
	kernel_log_since | grep -c "version: the first read"
}

cat /proc/version >/tmp/version
cat /proc/cmdline >/tmp/cmdline
kernel_log_mark
check "kpatch load succeeds" kpatch load "$KO_diff_kinds" || exit
check "the callback beside the diff has run" equals 1 "$(kernel_log_since | grep -c "diff-kinds: before the patch")"
check "a new function of the other file writes, with new data" equals "none, asked 41 times" "$(second)"
check "the static local counts" equals "one, asked 42 times" "$(second)"
check "and goes on" equals "two, asked 43 times" "$(second)"
check "the message came once" equals 1 "$(first_reads)"
check "the alternative is in place" equals "$(cat /tmp/cmdline) hypervisor" "$(cat /proc/cmdline)"
echo 1 >/proc/sys/kernel/sched_schedstats
check "the static key switches the replacement" equals "$(cat /tmp/cmdline) hypervisor schedstats" "$(cat /proc/cmdline)"
echo 0 >/proc/sys/kernel/sched_schedstats
check "and back" equals "$(cat /tmp/cmdline) hypervisor" "$(cat /proc/cmdline)"
check "the Rust code beside the diff is in force, and calls a function of the diff" equals "beside a C diff
one, asked 44 times" "$(cat /proc/uptime)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back" equals "$(cat /tmp/version)" "$(cat /proc/version)"
check "in both files" equals "$(cat /tmp/cmdline)" "$(cat /proc/cmdline)"
check "and that of the Rust code" fails grep -q "beside" /proc/uptime
check "nothing of the patch is left" unloaded "$module"
