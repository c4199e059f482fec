# SPDX-License-Identifier: GPL-2.0-or-later
# Each situation is made twice, for the original and for ours; output and messages are compared. Exit codes are compared
# as success and failure: that ours tell the failures apart is one of the listed differences.
. /lib/case.sh

ORIGINAL=/usr/local/lib/original/kpatch
STORE=/var/lib/kpatch
file=/srv/kpatch-demo-1-1.ko
name=kpatch_demo_1_1
patch=$(basename "$KO_demo" .ko)
mkdir -p /srv /tmp/a /tmp/b
cp "$KO_demo" $file
cp "$KO_sleeper" /srv/sleeper.ko
cp "$KO_long_sleeper" /srv/long_sleeper.ko
sleeper=$(basename "$KO_sleeper" .ko)
sed "s/$RELEASE SMP/9.99.999+deb12-amd64 SMP/" <"$KO_cmdline" >/srv/foreign.ko
echo text >/srv/text.o

# States to begin with.
bare() {
	systemctl disable -q kpatch.service 2>/dev/null
	rm -rf $STORE
	for _patch in $(ls /sys/kernel/livepatch); do
		echo 0 >"/sys/kernel/livepatch/$_patch/enabled"
	done
	for _module in $patch $sleeper kpatch_long_sleeper; do
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
	[ ! -s "$1" ]
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

phase list
equal "list of nothing" bare list
equal "list of what is installed, for all kernels" installed list
equal "list of what is loaded" loaded list
equal "list of what is disabled" disabled list

phase install
equal "install" bare install $file
differs "install beside others leaves the service as it is" installed install "$KO_cmdline"
check "all else is the same" same /tmp/a/out /tmp/b/out
check "ours has said nothing of it" reads_nothing /tmp/b/err
equal "install for a named kernel" bare install -k $RELEASE $file
equal "install for a named kernel, long" bare install --kernel-version=$RELEASE $file
equal "install without a file" bare install
equal "install of what is not there" bare install /srv/nothing.ko
equal "install of what is no .ko" bare install /srv/text.o
equal "install for another kernel" bare install /srv/foreign.ko
equal "install for a named other kernel" bare install -k 6.1.0-1-amd64 $file
differs "install of what is installed is a success" installed install $file
check "ours says so" reads "$file is already installed" /tmp/b/out
check "the original fails" reads "kpatch: $file is already installed" /tmp/a/err

phase uninstall
equal "uninstall" installed uninstall $name
equal "uninstall by the file's name" installed uninstall kpatch-demo-1-1.ko
equal "uninstall for another kernel" installed uninstall -k 6.1.0-1-amd64 other_name
equal "uninstall while loaded" loaded uninstall $name
equal "uninstall of a path" installed uninstall /srv/$name
equal "uninstall of what is not installed" installed uninstall nothing

phase load
equal "load" bare load $file
equal "load of what is loaded" loaded load $file
equal "load by name" installed load $name
equal "load of what was disabled" disabled load $file
equal "load of what is not there" bare load /srv/nothing.ko
equal "load of a name that is not installed" bare load nothing
equal "load --all" installed load --all
equal "load --all of nothing" bare load --all

phase unload
equal "unload" loaded unload "$patch"
equal "unload of what is disabled" disabled unload "$patch"
equal "unload of what is not loaded" bare unload nothing
equal "unload --all" loaded unload --all
equal "unload --all of nothing" bare unload --all

phase others
equal "signal without a transition" bare signal
differs "info shows the manifest for people" installed info $name
grep -v '^ferrograft:' /tmp/a/out >/tmp/a/info
head -n "$(wc -l </tmp/a/info)" /tmp/b/out >/tmp/b/info
check "all else of info is the same" same /tmp/a/info /tmp/b/info
equal "info of what is not there" bare info nothing
differs "version" bare version
check "the original is the one that is meant" reads 0.9.10 /tmp/a/out
check "ours is the bare version" grep -qx '[0-9.]*' /tmp/b/out
differs "help ends with 0" bare help
check "ours does" reads 0 /tmp/b/code
check "both on standard error" grep -q '^usage: kpatch <command> \[<args>\]$' /tmp/a/err /tmp/b/err
differs "usage has our verbs" bare nonsense
check "an unknown verb is named in the same words" same /tmp/a/out /tmp/b/out
check "both fail" fails grep -qx 0 /tmp/a/code /tmp/b/code

phase transition
# busy <module>: a reader sleeps in the patch; what is asked for has to wait for it.
busy() {
	bare
	insmod "/srv/$1.ko" && wait_until 30 grep -q 0 /sys/kernel/livepatch/kpatch_$1/transition
	cat /proc/cmdline >/dev/null &
	reader=$!
	wait_until 20 sleeping
}
briefly_busy() {
	busy sleeper
}
equal "unload that waits" briefly_busy unload "$sleeper"
for _who in a b; do
	busy long_sleeper
	echo 0 >/sys/kernel/livepatch/kpatch_long_sleeper/enabled
	[ $_who = a ] && _program=$ORIGINAL || _program=/usr/sbin/kpatch
	$_program list 2>&1 | sed "s/^$reader cat/READER cat/" >/tmp/$_who/list
	$_program signal >/tmp/$_who/signal 2>&1
	check "the reader has not left meanwhile ($_who)" sleeping
	wait $reader
done
long_busy() {
	busy long_sleeper
}
equal "unload that stalls and then completes" long_busy unload kpatch_long_sleeper
check "it did stall" contains "patch transition has stalled!" /tmp/a/out
check "the reader was seen" contains "READER cat" /tmp/a/list
check "with its stack" contains "[<0>] msleep+" /tmp/a/list
check "equal: list during a transition" same /tmp/a/list /tmp/b/list
check "signal had something to say" contains "Skipping manual process signaling." /tmp/a/signal
check "equal: signal during a transition" same /tmp/a/signal /tmp/b/signal
bare
