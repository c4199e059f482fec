# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_warns")

# warnings LINE: how many warnings of this line of the fix the kernel's log has since the mark.
warnings() {
	kernel_log_since | grep -c "WARNING: .*tests/fixes/warns/src/lib.rs:$1 "
}

keep version /proc/version
keep cmdline /proc/cmdline
kernel_log_mark
check "kpatch load succeeds" kpatch load "$KO_warns" || exit
check "the kernel has no taint of a warning" equals 0 $(($(cat /proc/sys/kernel/tainted) / 512 % 2))
check "the function goes on" same "$EVIDENCE/version" /proc/version
check "and again" same "$EVIDENCE/version" /proc/version
check "each of two calls warns" equals 2 "$(warnings 17)"
check "a condition that is false does not" equals 0 "$(warnings 14)"
kernel_log_since >/tmp/log
check "the warning names the replacement" contains "livepatch_version_proc_show" /tmp/log
check "and shows its stack" contains "seq_read_iter" /tmp/log
check "the other function goes on" same "$EVIDENCE/cmdline" /proc/cmdline
check "and again" same "$EVIDENCE/cmdline" /proc/cmdline
check "the first of two calls warns" equals 1 "$(warnings 23)"
_read=0
while [ $_read -lt 200 ]; do
	cat /proc/cmdline >/dev/null
	_read=$((_read + 1))
done
messages=$(kernel_log_since | grep -c "$module: a read")
check "200 reads log at least ten messages with the module's name" test "$messages" -ge 10
check "and not one each" test "$messages" -lt 200
check "the kernel is tainted by a warning" equals 1 $(($(cat /proc/sys/kernel/tainted) / 512 % 2))
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back, byte for byte" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded "$module"
