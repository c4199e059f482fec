# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

old=$(module_of "$KO_around")
new=$(module_of "$KO_cmdline")

# around_original: /proc/cmdline has what the original prints, byte for byte, and the replacement's line.
around_original() {
	{ cat "$EVIDENCE/original"; echo "after the original"; } >/tmp/expected
	same /tmp/expected /proc/cmdline
}

two_hundred() {
	_round=0
	while [ $_round -lt 200 ]; do
		around_original || return
		_round=$((_round + 1))
	done
}

# reader_sleeps: a reader is asleep in fifo_open, which waits for a writer; its number is $reader.
reader_sleeps() {
	rm -f /tmp/pipe && mkfifo /tmp/pipe || return
	sh -c 'exec cat /tmp/pipe' >/tmp/answer &
	reader=$!
	wait_until 20 asleep_in $reader fifo_open
}

# reader_is_answered: what is written to the pipe reaches the reader.
reader_is_answered() {
	echo "words for the reader" >/tmp/pipe && wait $reader && equals "words for the reader" "$(cat /tmp/answer)"
}

# opens <answer>: what opening a FIFO without waiting for a writer answers.
opens() {
	rm -f /tmp/pipe && mkfifo /tmp/pipe && equals "$1" "$(./nonblock /tmp/pipe)"
}

keep original /proc/cmdline
check "before: a FIFO can be opened without waiting" opens "opened"

phase refused
kernel_log_mark
check "a module with a wrong offset is refused" refuses "invalid module format" insmod "$KO_shifted_around"
kernel_log_since >/tmp/log
check "the kernel's log has the reason" contains "cmdline_proc_show does not begin as in the kernel build that this module was made for" /tmp/log
check "nothing of it is left" unloaded "$old"
check "the original answers" same "$EVIDENCE/original" /proc/cmdline

phase loaded
check "the patch is loaded" kpatch load "$KO_around" || exit
check "the original answers, and the replacement's line follows" around_original
check "200 more reads are the same" two_hundred
check "the guard refuses to open a FIFO without waiting" opens "Operation not permitted"
# A kprobe in the code behind the site of ftrace: x86_64's endbr64 and call, or the call alone; arm64's three instructions.
for inside in 9 5 12; do
	echo "p:inside cmdline_proc_show+$inside" >$TRACING/kprobe_events 2>/dev/null && break
done
echo 1 >$TRACING/events/kprobes/enable
cat /proc/cmdline >/dev/null
check "a kprobe in the original's code fires" equals 1 "$(hits inside)"
check "the original answers with it" around_original
echo 0 >$TRACING/events/kprobes/enable
echo >$TRACING/kprobe_events

phase unload
check "a reader sleeps in the original" reader_sleeps || exit
keep stack "/proc/$reader/stack"
check "its stack has the replacement" contains "livepatch_fifo_open" "$EVIDENCE/stack"
check "the patch is disabled" disable "$old"
check "the sleeping reader holds it" held "$old" $reader fifo_open
check "the reader gets its answer" reader_is_answered
check "the transition ends" wait_until 30 absent "$PATCHES/$old"
check "the module is removed" rmmod "$old"
check "the original answers again" same "$EVIDENCE/original" /proc/cmdline
check "a FIFO can be opened without waiting again" opens "opened"

phase replace
check "the patch is loaded again" kpatch load "$KO_around"
check "a reader sleeps in the original" reader_sleeps || exit
check "the next version is loaded" insmod "$KO_cmdline"
check "the sleeping reader holds it" held "$new" $reader fifo_open
check "the reader gets its answer" reader_is_answered
check "the transition ends" wait_until 30 settled "$new"
check "the next version answers" reads "patched from Rust" /proc/cmdline
check "the first version's module is removed" rmmod "$old"
check "the next version is unloaded" kpatch unload "$new"
check "the original answers at last" same "$EVIDENCE/original" /proc/cmdline
