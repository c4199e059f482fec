# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_peek")

# field <name>: what the replaced /proc/version says after `<name>: `.
field() {
	sed -n "s/^$1: //p" /proc/version
}

# more_than <number> <number>
more_than() {
	[ "$2" -gt "$1" ] && return
	echo "$2 is not more than $1"
	return 1
}

keep original /proc/version
check "before: /proc/version is the kernel's own" contains "Linux version $RELEASE" /proc/version
check "kpatch load succeeds" kpatch load "$KO_peek" || exit
check "the unexported variable holds the command line" equals "$(cat /proc/cmdline)" "$(field saved_command_line)"
few=$(field nr_processes)
check "the unexported function gives a number of processes" more_than 1 "$few"
sleep 10000 &
sleep 10000 &
sleep 10000 &
# Others may end meanwhile, but not all of what is counted: three are new.
check "it grows with three more processes" more_than "$few" "$(field nr_processes)"
kill %1 %2 %3
wait
check "kpatch unload succeeds" kpatch unload "$module"
check "/proc/version is the original, byte for byte" same "$EVIDENCE/original" /proc/version
check "nothing of the patch is left" unloaded "$module"
