# SPDX-License-Identifier: GPL-2.0-or-later
# A load that stalls until it is given up: a reader sleeps in a patch that another one replaces. Both
# meet the same reader, since each takes its own patch back.
. /lib/case.sh
. /case/lib.sh

other=$(basename "$KO_cmdline" .ko)
cp "$KO_version_sleeper" /srv/version_sleeper.ko
insmod /srv/version_sleeper.ko
check "the patch is in effect" wait_until 30 grep -q 0 /sys/kernel/livepatch/kpatch_version_sleeper/transition
# Not /proc/cmdline, as elsewhere: insmod and modinfo, which the original calls, would sleep there themselves.
check "a reader sleeps in it" sleeps_in /proc/version
for _who in a b; do
	[ $_who = a ] && _program=$ORIGINAL || _program=/usr/sbin/kpatch
	$_program load "$KO_cmdline" >/tmp/$_who/out 2>/tmp/$_who/err </dev/null
	echo $? >/tmp/$_who/code
	check "the reader has not left meanwhile ($_who)" sleeping
	check "the patch was taken back ($_who)" absent "/sys/kernel/livepatch/$other"
	check "and its module ($_who)" absent "/sys/module/$other"
	keep "$_who.out" /tmp/$_who/out
	keep "$_who.err" /tmp/$_who/err
done
check "the original's load stalled" contains "patch transition has stalled!" /tmp/a/out
check "and was given up" contains "module $other did not complete its transition, unloading..." /tmp/a/out
check "equal: what a load prints that stalls" same /tmp/a/out /tmp/b/out
check "both fail" both_fail
check "a listed difference: ours ends with the code of stalls" reads 6 /tmp/b/code
check "and names task, function and what would free it" grep -q "$reader cat is in .*\[kpatch_version_sleeper\], was started .* ago; " /tmp/b/err
check "the replaced patch acts still" grep -q 1 /sys/kernel/livepatch/kpatch_version_sleeper/enabled
