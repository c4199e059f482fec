# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_walk")
field() {
	sed -n "s/^$1: //p" /proc/version
}
# Processes and kernel threads come and go, but the sum is right if it is so once.
counts() {
	equals "$(ls -d /proc/[0-9]* | wc -l)" "$(($(field processes)))"
}
keep version /proc/version
check "kpatch load succeeds" kpatch load "$KO_walk" || exit
check "as many processes are on the list as /proc shows" wait_until 20 counts
check "the first is init" equals 1 "$(field first)"
processes=$(field processes)
check "the macro of the headers rounds up" equals $(((processes + 9) / 10)) "$(field tens)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back, byte for byte" same "$EVIDENCE/version" /proc/version
check "nothing of the patch is left" unloaded "$module"
