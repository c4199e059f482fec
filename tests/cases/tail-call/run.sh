# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

old=$(module_of "$KO_tail_sleeper")
new=$(module_of "$KO_cmdline")

# reader_sleeps: a reader is asleep in the module; its number is $reader.
reader_sleeps() {
	cat /proc/cmdline >/tmp/answer &
	reader=$!
	wait_until 20 asleep_in $reader msleep
}

keep original /proc/cmdline
phase unload
check "the patch is loaded" kpatch load "$KO_tail_sleeper" || exit
check "a reader sleeps in it" reader_sleeps || exit
keep stack "/proc/$reader/stack"
check "its stack has the replacement" contains "livepatch_cmdline_proc_show" "$EVIDENCE/stack"
check "the patch is disabled" disable "$old"
check "the sleeping reader holds it" held "$old" $reader msleep
check "the transition ends when the reader has left" wait_until 30 absent "$PATCHES/$old"
wait $reader
check "the reader's answer is the replacement's" reads "slept in a function of the module" /tmp/answer
check "the module is removed" rmmod "$old"
check "the original answers" same "$EVIDENCE/original" /proc/cmdline

phase replace
check "the patch is loaded again" kpatch load "$KO_tail_sleeper"
check "a reader sleeps in it" reader_sleeps || exit
check "the next version is loaded" insmod "$KO_cmdline"
check "the sleeping reader holds it" held "$new" $reader msleep
check "the transition ends when the reader has left" wait_until 30 settled "$new"
wait $reader
check "the reader's answer is the first version's" reads "slept in a function of the module" /tmp/answer
check "the next version answers" reads "patched from Rust" /proc/cmdline
check "the first version's module is removed" rmmod "$old"
check "the next version is unloaded" kpatch unload "$new"
check "the original answers again" same "$EVIDENCE/original" /proc/cmdline
