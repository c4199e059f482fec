# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_panics")
index() {
	echo "$1" >/sys/module/klp_locked/parameters/index
}
held() {
	contains "mutex $1" /proc/klp_locked_state
}
waits_for_mutex() {
	contains "State:	D" "/proc/$waiting/status" && contains "[$module]" "/proc/$waiting/stack"
}
check "the module is loaded" insmod "$KO_module_klp_locked" || exit
check "kpatch load succeeds" kpatch load "$KO_panics" || exit
index 3
check "the replacement answers" reads "patched 13" /proc/klp_locked
check "the mutex is free" held free

index 4
kernel_log_mark
cat /proc/klp_locked >/tmp/seen &
killed=$!
wait $killed
check "the task that panicked is killed" equals 139 $?
kernel_log_since >/tmp/log
keep log /tmp/log
check "the kernel's log has what was wrong" contains "index out of bounds: the len is 4 but the index is 4" /tmp/log
check "it read nothing" test ! -s /tmp/seen
check "the machine goes on" contains "Linux" /proc/version
check "the mutex stays held" held held

index 0
cat /proc/klp_locked >/tmp/waiting &
waiting=$!
check "whoever wants the mutex waits" wait_until 20 waits_for_mutex
kill -9 $waiting
check "and cannot even be killed" waits_for_mutex
check "the patch is disabled" sh -c "echo 0 >$PATCHES/$module/enabled"
check "the transition back waits for that task" in_transition "$module"
check "which the kernel names" equals 1 "$(cat /proc/$waiting/patch_state)"
