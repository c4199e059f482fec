# SPDX-License-Identifier: GPL-2.0-or-later
# Power cuts during the operations of a live patch package, after chapter.sh. The host runs set_up once, then for each cut
# `cut` (until it cuts the power), and `after` in the next boot. OPERATION is the operation.

set_up() {
	up
	repository 0
	check "the package manager is set up" prepare || exit
	check "the machine subscribes" install || exit
	check "the package is removed" remove
}

operate() {
	case $OPERATION in
	install) repository 1 && forget && install ;;
	update) repository 2 && update_all ;;
	remove) remove ;;
	esac
}

cut() {
	# What is loaded has settled, as after five minutes.
	kpatch confirm >/tmp/confirm
	check "the operation ends" operate
}

after() {
	systemctl is-system-running --wait >/tmp/running
	check "kpatch list answers" list || exit
	LOADED=$(sed -n 's/ \[enabled\]$//p' /tmp/list)
	NEWEST=$(sed -n "s/ ($RELEASE)\$//p" /tmp/list | tail -n 1)
	echo "# loaded: $LOADED; newest of the installed: $NEWEST"
	check "the kernel is patched as kpatch list says" as_listed
	if left_out; then
		check "kpatch.service tells of a patch that it left out" contains degraded /tmp/running
	else
		check "the system is up" contains running /tmp/running
		[ -z "$NEWEST" ] || check "the newest installed module is loaded" equals "$NEWEST" "$LOADED"
	fi
	[ "$OPERATION" != update ] || check "a module is installed" test -n "$NEWEST"
	check "each module of the store is whole" whole

	check "the package manager recovers" recover
	check "the operation ends" operate
	# The package manager loads nothing where it has nothing to do.
	if left_out; then
		check "the module that was left out is loaded by its name" kpatch load "$(newest)"
	fi
	finished_"$OPERATION"
	check "each module of the store is whole" whole
	check "nothing else is in the store" equals "" "$(ls -A "$STORE" 2>/dev/null | grep -v '\.ko$')"
	check "the package manager finds nothing to repair" consistent
}

# as_listed: the enabled patch of `kpatch list` is the one that acts.
as_listed() {
	case $LOADED in
	'') nothing_loaded && not_patched ;;
	*_1_1) enabled_alone "$LOADED" && patched ;;
	*_2_1) enabled_alone "$LOADED" && patched_twice ;;
	*) return 1 ;;
	esac
}

# left_out: a boot leaves out a module that was loaded less than five minutes before the power cut, and status says so.
left_out() {
	kpatch status >/tmp/status
	grep -q "leaves kpatch_.* out: an earlier boot with it ended unclean" /tmp/status
}

# whole: each module of the store is byte for byte one that the host made.
whole() {
	for _module in "$STORE"/*.ko; do
		[ -e "$_module" ] || continue
		cmp "$_module" "/artifacts/${_module##*/}" || return
	done
}

# stored <version>: the store has the module of this version and no other.
stored() {
	equals "$(basename /artifacts/*_"$1".ko)" "$(ls "$STORE")"
}

finished_install() {
	check "version 1-1 is installed" equals 1-1 "$(installed_version)"
	check "the store has its module" stored 1_1
	check "the kernel is patched" patched
}

finished_update() {
	check "version 2-1 is installed" equals 2-1 "$(installed_version)"
	check "the store has its module" stored 2_1
	check "both fixes act" patched_twice
}

finished_remove() {
	check "the package is not installed" fails installed
	# An empty directory may reappear after a power cut (loader/src/model/durable.rs).
	check "no module is in the store" equals "" "$(ls "$STORE" 2>/dev/null)"
}
