# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_diff_sleeper")
next=$(module_of "$KO_cmdline")

# sleep_in_it: a reader that sleeps in the new function; its number is in $reader.
sleep_in_it() {
	cat /proc/version >/tmp/slept 2>&1 &
	reader=$!
	wait_until 10 asleep_in "$reader" version_wait
}

check "kpatch load succeeds" kpatch load "$KO_diff_sleeper" || exit
check "a reader sleeps in the new function" sleep_in_it
disable "$module"
check "the way back waits for it" held "$module" "$reader" version_wait
wait "$reader"
check "the new function ended in the replacement" contains "slept" /tmp/slept
check "then the way back ends" wait_until 30 absent "$PATCHES/$module"
rmmod "$module"

check "kpatch load succeeds" kpatch load "$KO_diff_sleeper" || exit
check "a reader sleeps in the new function" sleep_in_it
insmod "$KO_cmdline"
check "the next version waits for it" held "$next" "$reader" version_wait
wait "$reader"
check "the new function ended in the replacement" contains "slept" /tmp/slept
check "then the next version is in force" wait_until 30 settled "$next"
check "kpatch unload succeeds" kpatch unload "$next"
check "nothing of it is left" unloaded "$next"
rmmod "$module"
