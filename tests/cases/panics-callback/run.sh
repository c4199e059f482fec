# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

waits() {
	contains "State:	D" "/proc/$waiting/status" && contains "klp_module_coming" "/proc/$waiting/stack"
}
keep cmdline /proc/cmdline
insmod "$KO_panics_callback" &
wait $!
check "insmod is killed" equals 139 $?
check "the machine goes on" contains "Linux" /proc/version
insmod "$KO_cmdline" &
waiting=$!
check "the next module waits for the livepatch core's mutex" wait_until 20 waits
kill -9 $waiting
check "and its insmod cannot even be killed" waits
check "it is not in force" same "$EVIDENCE/cmdline" /proc/cmdline
