# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_walk")
field() {
	sed -n "s/^$1: //p" /proc/version
}
# Each look starts processes of its own, and kernel threads come and go: a few more or less are the same.
counts() {
	_shown=$(ls -d /proc/[0-9]* | wc -l)
	_listed=$(($(field processes)))
	_apart=$((_shown - _listed))
	[ $_apart -ge -4 ] && [ $_apart -le 4 ] && return
	echo "/proc shows $_shown, the list has $_listed"
	return 1
}
keep version /proc/version
check "kpatch load succeeds" kpatch load "$KO_walk" || exit
check "as many processes are on the list as /proc shows, within four" wait_until 20 counts
check "the first is init" equals 1 "$(field first)"
processes=$(field processes)
check "the macro of the headers rounds up" equals $(((processes + 9) / 10)) "$(field tens)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back, byte for byte" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded "$module"
