# SPDX-License-Identifier: GPL-2.0-or-later
# Updates while something else goes wrong, after chapter.sh. The machine has version 1, the repository offers version 2. Each
# fault ends in an error that names it, and the machine is as before.

# state: what an administrator sees of live patches, and what is stored.
state() {
	kpatch list &&
		installed_version &&
		cat /proc/cmdline /proc/version &&
		(cd /var/lib/kpatch && find . -path ./.history -prune -o -type f -exec sha256sum {} + | sort)
}

as_before() {
	state >/run/state && same /run/before /run/state
}

# The disk may be full, so that what is compared or shown lies in /run.
# refused <text> <command...>: the command fails, and of the lines that the package manager marks as errors one holds this
# text.
refused() {
	_text=$1
	shift
	"$@" >/run/refused 2>&1
	_status=$?
	tail -n 20 /run/refused
	[ $_status != 0 ] || return
	errors </run/refused >/run/errors
	contains "$_text" /run/errors
}

faults() {
	_seen=/run/seen
	up
	repository 1
	check "the package manager is set up" prepare || exit
	check "version 1-1 is installed" install || exit
	check "the kernel is patched" patched || exit
	state >/run/before || exit

	phase unreachable
	repository none
	check "an unreachable repository is an error" refused "$UNREACHABLE" update
	check "the machine is as before" as_before
	repository 2

	phase signature
	trust
	repository signed
	check "a wrong signature is an error" refused "$WRONG_SIGNATURE" update
	check "the machine is as before" as_before
	trust_all
	repository 2

	phase full
	fill /fill
	check "a full disk is an error" refused "$NO_SPACE" update
	check "the machine is as before" as_before
	rm /fill
	check "the package manager recovers" recover
	check "the machine is as before then" as_before

	phase two
	first
	check "a second package manager gets an error" refused "$LOCKED" second
	check "the machine is as before" as_before
	check "the first one ends" first_ends
	check "version 2-1 is installed" equals 2-1 "$(installed_version)"
	check "both fixes act" patched_twice

	full_store
}

# fill <file>: a file that takes all space, also that for root.
fill() {
	fallocate -l "$(df --output=avail -B1 / | tail -n 1)" "$1"
	cat /dev/zero >>"$1" 2>/dev/null
	sync
	equals 0 "$(df --output=avail / | tail -n 1 | tr -d ' ')"
}

# full_store: the store is a file system of its own, which is full, while version 2 replaces version 1.
full_store() {
	phase store
	check "the package is removed" remove
	kpatch unload --all >/tmp/unload
	repository 1
	check "version 1-1 is installed" install
	check "the kernel is patched" patched
	cp -a /var/lib/kpatch /tmp/store
	mount -t tmpfs -o size=1m store /var/lib/kpatch
	cp -a /tmp/store/. /var/lib/kpatch/
	old=$(newest)
	cat /dev/zero >/var/lib/kpatch/.fill 2>/dev/null
	repository 2
	update_all >/tmp/update 2>&1
	check "the update names the full store" contains "No space left on device" /tmp/update
	check "the module of version 1 stays installed" equals "$old.ko" "$(ls "$STORE")"
	check "the kernel is patched as before" patched
	check "kpatch list shows the module of version 1" lists "$old"
	rm /var/lib/kpatch/.fill
	check "with space again, the update is finished" finish_update
	check "the module of version 2 alone is installed" equals 1 "$(ls "$STORE" | grep -c _2_1.ko)"
	check "no other is" equals 1 "$(ls "$STORE" | wc -l)"
	check "both fixes act" patched_twice
}
