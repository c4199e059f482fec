# SPDX-License-Identifier: GPL-2.0-or-later
# What both boots share. Each situation is made twice, for the original and for ours; output and messages are compared.
# Exit codes are compared as success and failure: that ours tell the failures apart is one of the listed differences.
ORIGINAL=/usr/local/lib/original/kpatch
STORE=/var/lib/kpatch
file=/srv/kpatch-demo-1-1.ko
name=kpatch_demo_1_1
patch=$(basename "$KO_demo" .ko)
mkdir -p /srv /tmp/a /tmp/b
# Without these ours names what it could not look at.
mountpoint -q /sys/kernel/tracing || mount -t tracefs nodev /sys/kernel/tracing
mountpoint -q /sys/kernel/debug || mount -t debugfs nodev /sys/kernel/debug
cp "$KO_demo" $file
cp "$KO_sleeper" /srv/sleeper.ko
sleeper=$(basename "$KO_sleeper" .ko)
sed "s/$RELEASE SMP/9.99.999+deb12-amd64 SMP/" <"$KO_cmdline" >/srv/foreign.ko
echo text >/srv/text.o

# States to begin with.
bare() {
	goes_on
	systemctl disable -q kpatch.service 2>/dev/null
	rm -rf $STORE
	for _patch in $(ls /sys/kernel/livepatch); do
		echo 0 >"/sys/kernel/livepatch/$_patch/enabled"
	done
	for _module in $patch $sleeper "$(basename "$KO_cmdline" .ko)"; do
		[ ! -d /sys/module/$_module ] || wait_until 30 rmmod $_module
	done
}
installed() {
	bare
	mkdir -p $STORE/$RELEASE $STORE/6.1.0-1-amd64
	cp $file $STORE/$RELEASE/
	cp $file $STORE/6.1.0-1-amd64/other-name.ko
}
loaded() {
	installed
	insmod $file && wait_until 30 grep -q 0 /sys/kernel/livepatch/$patch/transition
}
disabled() {
	loaded
	echo 0 >/sys/kernel/livepatch/$patch/enabled
	wait_until 30 absent /sys/kernel/livepatch/$patch
}

# made <state> <command...>: what both do with the arguments is in /tmp/a (the original) and /tmp/b (ours).
made() {
	_state=$1
	shift
	for _who in a b; do
		$_state
		[ $_who = a ] && _program=$ORIGINAL || _program=/usr/sbin/kpatch
		$_program "$@" >/tmp/$_who/out 2>/tmp/$_who/err </dev/null
		echo $? >/tmp/$_who/code
		ls -R $STORE 2>/dev/null | grep '\.ko' >/tmp/$_who/store
		ls /sys/kernel/livepatch >/tmp/$_who/patches
	done
}
# What depends on how fast the machine is.
seconds() {
	sed 's/complete ([0-9]* seconds)/complete (N seconds)/' "$1"
}
alike() {
	for _what in out err store patches; do
		seconds /tmp/a/$_what >/tmp/a/$_what.n
		seconds /tmp/b/$_what >/tmp/b/$_what.n
		same /tmp/a/$_what.n /tmp/b/$_what.n || return 1
	done
	read -r _a </tmp/a/code
	read -r _b </tmp/b/code
	[ "$_a" = 0 ] && [ "$_b" = 0 ] && return
	[ "$_a" != 0 ] && [ "$_b" != 0 ] && return
	echo "exit codes $_a and $_b"
	return 1
}
reads_nothing() {
	[ -e "$1" ] && [ ! -s "$1" ]
}
both_fail() {
	[ -s /tmp/a/code ] && [ -s /tmp/b/code ] && fails_with 1 grep -qx 0 /tmp/a/code /tmp/b/code
}
# equal <claim> <state> <arguments...>
equal() {
	_claim=$1
	shift
	made "$@"
	check "equal: $_claim" alike
}
# differs <claim> <state> <arguments...>: it is a listed difference; what ours does is checked by the lines that follow.
differs() {
	_claim=$1
	shift
	made "$@"
	check "a listed difference: $_claim" fails alike
}

# A reader sleeps in a patch; what is asked for has to wait for it. It sleeps until it goes on, however slow the machine is.
reader=none
sleeping() {
	grep -q msleep "/proc/$reader/stack"
}
# sleeps_in <file>
sleeps_in() {
	sh -c "echo 1 >/proc/self/oom_score_adj && exec cat $1" >/dev/null &
	reader=$!
	wait_until 20 sleeping
}
goes_on() {
	[ ! -d /proc/$reader ] || echo 0 >/proc/$reader/oom_score_adj
}
# goes_on_when <command...>: the same, once the command succeeds.
goes_on_when() {
	(wait_until 300 "$@"; goes_on) &
}
busy() {
	bare
	insmod /srv/sleeper.ko && wait_until 30 grep -q 0 /sys/kernel/livepatch/$sleeper/transition
	sleeps_in /proc/cmdline
}
