# SPDX-License-Identifier: GPL-2.0-or-later
# A reader sleeps in the first patch until it is told to go on; what comes to replace or to remove that patch stalls on it.
. /lib/case.sh
. /lib/livepatch.sh
. /lib/sleeper.sh

old=$(module_of "$KO_sleeper")
new=$(module_of "$KO_cmdline")

# stalls <name> <command...>: it ends with the exit code of a stall; what it prints is kept.
stalls() {
	_name=$1
	shift
	prints "$_name" "$@"
	equals 6 $?
}

keep original /proc/cmdline
check "the first patch is loaded" kpatch load "$KO_sleeper" || exit

phase fail
check "a reader sleeps in the first patch" reader_sleeps
check "a load over it stalls" stalls load-fail kpatch load --on-stall fail --deadline 1 "$KO_cmdline"
check "the task is named as the original does" contains "Stalled processes:" "$EVIDENCE/load-fail"
check "with its number and name" contains "$reader cat" "$EVIDENCE/load-fail"
check "with its stack" contains "[<0>] msleep+" "$EVIDENCE/load-fail"
check "the function is named" grep -q "$reader cat is in .*cmdline_proc_show.* \[$old\], was started [0-9]* s ago" "$EVIDENCE/load-fail"
check "so is what would free it" contains "it waits for a device or a lock" "$EVIDENCE/load-fail"
check "it says that the kernel goes on" contains "the kernel goes on with the transition" "$EVIDENCE/load-fail"
check "the patch is in transition still" in_transition "$new"
check "kpatch list answers" prints list kpatch list
check "it names the task" contains "$reader cat" "$EVIDENCE/list"
check "monitors are not content" fails kpatch status --check
check "kpatch status answers" prints status kpatch status
check "it names the task" contains "$reader cat" "$EVIDENCE/status"
check "kpatch signal succeeds" kpatch signal
check "the reader goes on" reader_goes_on
check "when the reader has left, the transition ends by itself" wait_until 30 settled "$new"
check "the second patch acts" reads "patched from Rust" /proc/cmdline
check "it is unloaded" kpatch unload "$new"
check "the replaced one is removed" kpatch unload "$old"

phase reverse
check "the first patch is loaded again" kpatch load "$KO_sleeper"
check "a reader sleeps in it" reader_sleeps
check "a load over it stalls and is taken back" stalls load-reverse kpatch load --deadline 1 "$KO_cmdline"
check "it says so" contains "module $new did not complete its transition, unloading..." "$EVIDENCE/load-reverse"
check "nothing of the second patch is left" unloaded "$new"
check "the first patch is enabled" listed "$old" enabled
check "the reader goes on, in the first patch" reader_goes_on
check "another reader sleeps in it" reader_sleeps
check "an unload stalls and is turned round" stalls unload-reverse kpatch unload --on-stall reverse --deadline 1 "$old"
check "it says so" contains "it is enabled again for all tasks: nothing has changed" "$EVIDENCE/unload-reverse"
check "the first patch is enabled still" listed "$old" enabled
check "the other reader goes on" reader_goes_on

phase signal
check "a reader sleeps in it once more" reader_sleeps
kpatch unload "$old" >/tmp/signalled 2>&1 &
unload=$!
check "unloading begins" wait_until 20 in_transition "$old"
kill -TERM $unload
wait $unload
check "a signal ends kpatch, with its code" equals 143 $?
check "it says how things were left" contains "interrupted by SIGTERM: $old is being disabled, and the kernel goes on" /tmp/signalled
check "so they are" in_transition "$old"
check "the patch can be turned round" prints turned kpatch load "$KO_sleeper"
check "it says so" contains "module already loaded, re-enabling" "$EVIDENCE/turned"
check "the patch is enabled" listed "$old" enabled
check "that reader goes on" reader_goes_on

phase wait
check "a third reader sleeps in it" reader_sleeps
kpatch unload --on-stall wait "$old" >/tmp/waited 2>&1 &
unload=$!
check "unloading waits" wait_until 20 in_transition "$old"
check "the reader goes on at last" reader_goes_on
wait $unload
check "an unload waits as long as it takes" equals 0 $?
check "the reader got the replacement's answer" reads "slept in Rust" /tmp/slept
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/cmdline
check "nothing of the first patch is left" unloaded "$old"
kpatch history >/tmp/history
check "the history has the three stalls" equals 3 "$(grep -c 'FAILED: .*transition stalled' /tmp/history)"
