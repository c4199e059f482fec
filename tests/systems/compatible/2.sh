# SPDX-License-Identifier: GPL-2.0-or-later
# Transitions that have to wait.
. /lib/case.sh
. /case/lib.sh

briefly_busy() {
	busy
	goes_on_when grep -q 1 /sys/kernel/livepatch/$sleeper/transition
}
equal "unload that waits" briefly_busy unload "$sleeper"
for _who in a b; do
	busy
	echo 0 >/sys/kernel/livepatch/$sleeper/enabled
	[ $_who = a ] && _program=$ORIGINAL || _program=/usr/sbin/kpatch
	$_program list 2>&1 | sed "s/^$reader cat/READER cat/" >/tmp/$_who/list
	$_program signal >/tmp/$_who/signal 2>&1
	check "the reader has not left meanwhile ($_who)" sleeping
	goes_on
	wait $reader
done
long_busy() {
	busy
	rm -f /tmp/$_who/out
	goes_on_when grep -q stalled /tmp/$_who/out
}
equal "unload that stalls and then completes" long_busy unload $sleeper
check "it did stall" contains "patch transition has stalled!" /tmp/a/out
check "the reader was seen" contains "READER cat" /tmp/a/list
check "with its stack" contains "[<0>] msleep+" /tmp/a/list
check "equal: list during a transition" same /tmp/a/list /tmp/b/list
check "signal had something to say" contains "Skipping manual process signaling." /tmp/a/signal
check "equal: signal during a transition" same /tmp/a/signal /tmp/b/signal
reversing() {
	busy
	echo 0 >/sys/kernel/livepatch/$sleeper/enabled
}
equal "load turns an unload round that still runs" reversing load /srv/sleeper.ko
check "it did" contains "module already loaded, re-enabling" /tmp/a/out
bare
