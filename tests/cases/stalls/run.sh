# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

lp=$(module_of "$KO_halves")
sleeping() {
	grep -q msleep "/proc/$reader/stack"
}
state() {
	read -r _state <"/proc/$1/patch_state" && equals "$2" "$_state"
}
# read_slowly: `reader` reads the file, and is asleep between its halves until `go_on`. How long the script takes to look at
# it does not matter.
read_slowly() {
	write 1 /sys/module/klp_halves/parameters/pause
	cat /proc/klp_halves >/tmp/halves &
	reader=$!
	wait_until 20 sleeping
}
go_on() {
	write 0 /sys/module/klp_halves/parameters/pause
	wait $reader
}

load_mod "$KO_module_klp_halves"
check "a task sleeps in the old function" read_slowly
check "the patch is loaded" insmod "$KO_halves"
check "the transition has begun" in_transition $lp
check "the kernel says of the task that it is unpatched" state $reader 0
check "the transition is held back" in_transition $lp
cat "/proc/$reader/stack" >/tmp/stack
check "its stack shows the old function" contains "klp_halves_show" /tmp/stack
keep old-stack /tmp/stack
go_on
check "it read both halves of the old" reads "old old" /tmp/halves
check "the transition ends when it has left" wait_until 60 settled $lp
check "both halves are new" reads "new new" /proc/klp_halves

check "a task sleeps in the replacement" read_slowly
check "the patch is disabled" write 0 $PATCHES/$lp/enabled
check "the transition back has begun" in_transition $lp
check "the kernel says of the task that it is patched" state $reader 1
cat "/proc/$reader/stack" >/tmp/stack
check "its stack shows the replacement in Rust" contains "[$lp]" /tmp/stack
keep new-stack /tmp/stack
check "the transition back is held back" in_transition $lp
go_on
check "it read both halves of the new" reads "new new" /tmp/halves
check "the transition ends when it has left" wait_until 60 absent $PATCHES/$lp
unload_lp "$KO_halves"
check "both halves are old" reads "old old" /proc/klp_halves
unload_mod klp_halves
