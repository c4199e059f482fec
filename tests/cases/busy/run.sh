# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/sleeper.sh

module=$(module_of "$KO_sleeper")

# state_of <pid> <state>: 1 is patched, 0 unpatched, -1 not in a transition.
state_of() {
	read -r _state <"/proc/$1/patch_state" && equals "$2" "$_state"
}

keep original /proc/cmdline
check "kpatch load succeeds" kpatch load "$KO_sleeper" || exit
check "a reader sleeps in the replacement" reader_sleeps

{
	kpatch unload "$module" >/tmp/unload 2>&1
	echo $? >/tmp/status
} &
unload=$!
check "unloading begins" wait_until 20 in_transition "$module"
cat "/proc/$reader/stack" >/tmp/stack
check "the reader still has the patched state" state_of $reader 1
check "its stack goes through the patched function" contains "[$module]" /tmp/stack
check "the patch is still in transition" in_transition "$module"
check "unloading has not ended" absent /tmp/status
keep stack /tmp/stack

check "the reader goes on" reader_goes_on
check "the reader got the replacement's answer" reads "slept in Rust" /tmp/slept
wait $unload
keep unload /tmp/unload
check "unloading succeeded after it" reads 0 /tmp/status
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/cmdline
check "nothing of the patch is left" unloaded "$module"
