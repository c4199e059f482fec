# SPDX-License-Identifier: GPL-2.0-or-later
# The replacement of /proc/version takes the lock of the reader's memory map a hundred times, by an inline function that is compiled
# into the live patch: what the tracepoint in it says comes from the jump label in the module. By another tracepoint the replacement
# speaks itself: a static key, and behind it a static call.
. /lib/case.sh
. /lib/livepatch.sh

EVENT=$TRACING/events/mmap_lock/mmap_lock_start_locking
IDLE=$TRACING/events/power/cpu_idle
module=$(module_of "$KO_tracepoint")
# traced: how often the tracepoint spoke while `cat` read the file.
traced() {
	echo >$TRACING/trace
	cat /proc/version >/tmp/version
	grep -c "cat-.*mmap_lock_start_locking" $TRACING/trace
}
# told: how often the replacement spoke by a tracepoint itself when `cat` read the file.
told() {
	echo >$TRACING/trace
	cat /proc/version >/tmp/version
	grep -c "cat-.* cpu_idle: state=4242 cpu_id=77" $TRACING/trace
}
# fewer_than <number> <number>
fewer_than() {
	[ "$1" -lt "$2" ] && return
	echo "$1 is not less than $2"
	return 1
}

keep version /proc/version
check "the tracepoint is set before the patch is there" sh -c "echo 1 >$EVENT/enable"
without=$(traced)
check "without the patch it speaks less than a hundred times" fewer_than "$without" 100
check "kpatch load succeeds" kpatch load "$KO_tracepoint" || exit
check "the replacement answers" reads "locked a hundred times" /proc/version
check "the key that was set before the load is set in the module" fewer_than 99 "$(traced)"
check "the tracepoint is taken off" sh -c "echo 0 >$EVENT/enable"
check "the replacement says nothing more" equals 0 "$(traced)"
check "the tracepoint is set again" sh -c "echo 1 >$EVENT/enable"
check "the replacement speaks again" fewer_than 99 "$(traced)"
check "a tracepoint that nobody listens to: the static key leads past it" equals 0 "$(told)"
check "somebody listens" sh -c "echo 1 >$IDLE/enable"
check "the static call leads to who listens, with the values that the replacement gave" equals 1 "$(told)"
check "nobody listens any more" sh -c "echo 0 >$IDLE/enable"
check "the replacement says nothing there" equals 0 "$(told)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original speaks less than a hundred times, as before" fewer_than "$(traced)" 100
check "the tracepoint is taken off at last" sh -c "echo 0 >$EVENT/enable"
check "the original is there, byte for byte" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded "$module"
