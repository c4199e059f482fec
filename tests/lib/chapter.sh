# SPDX-License-Identifier: GPL-2.0-or-later
# Red Hat's chapter "Applying patches with kernel live patching", one function for each boot. A case defines the package
# manager's commands before: prepare, search, install, update, update_all, remove, installed_version. The repository has three
# states in /srv: 0 has the empty package of this kernel, 1 and 2 have one more version each.
. /lib/livepatch.sh

STORE=/var/lib/kpatch/$RELEASE

# repository <state>: the repository of this state is the one that the package manager reads.
repository() {
	ln -sfn "/srv/$1" /srv/now
}

# newest: name of the only module in the store.
newest() {
	set -- "$STORE"/*.ko
	basename "$1" .ko
}

# patched: version 1 acts; version 2 does not.
patched() {
	reads "patched from Rust" /proc/cmdline && lacks "nr_processes: " /proc/version
}

# patched_twice: the fixes of version 2 act.
patched_twice() {
	reads "patched from Rust" /proc/cmdline && contains "nr_processes: " /proc/version
}

not_patched() {
	lacks "patched from Rust" /proc/cmdline && lacks "nr_processes: " /proc/version
}

nothing_loaded() {
	equals "" "$(ls $PATCHES)"
}

# lists <module>: `kpatch list` names it as enabled, and as installed for this kernel.
lists() {
	list && contains "$1 [enabled]" /tmp/list && contains "$1 ($RELEASE)" /tmp/list
}

# enabled_alone <module>: the kernel has this patch enabled and no other.
enabled_alone() {
	equals "$1" "$(ls $PATCHES)" && equals 1 "$(cat $PATCHES/"$1"/enabled)"
}

in_store() {
	[ -f "$STORE/$1.ko" ]
}

# list: what `kpatch list` prints, in /tmp/list. A kpatch that is gone or fails is no empty list.
list() {
	kpatch list >/tmp/list && contains "Loaded patch modules:" /tmp/list
}

# lists_nothing: `kpatch list` has no module, loaded or installed.
lists_nothing() {
	list && lacks kpatch_ /tmp/list
}

up() {
	systemctl is-system-running --wait >/tmp/running
	check "the system is up" contains running /tmp/running
}

boot_1() {
	up
	repository 0
	check "the package manager is set up" prepare || exit
	check "the package of this kernel is found" search
	check "the kernel is not patched" not_patched

	check "the machine subscribes" install || exit
	check "that is version 0-0" equals 0-0 "$(installed_version)"
	check "nothing is loaded" nothing_loaded
	check "nothing is in the store" fails_with 2 ls "$STORE"
	check "kpatch.service is enabled" equals enabled "$(systemctl is-enabled kpatch.service)"

	repository 1
	check "version 1-1 is an update" update || exit
	check "it is installed" equals 1-1 "$(installed_version)"
	check "the running kernel is patched" patched
	module=$(newest)
	check "kpatch list shows the module" lists "$module"
	check "it is the only patch" enabled_alone "$module"
}

boot_2() {
	up
	module=$(newest)
	check "after the reboot the kernel is patched" patched
	check "kpatch list shows the module" lists "$module"
	check "kpatch.service has loaded it" equals active "$(systemctl is-active kpatch.service)"

	repository 2
	start_reader "patched from Rust" /proc/cmdline
	# It reads without a pause, and leaves the one CPU to the update; in the waits of the transition the CPU is its own.
	renice -n 10 $_reader >/dev/null
	check "the reader reads before the update" read_on
	check "all live patches are updated" update_all
	check "the reader reads after the update" read_on
	stop_reader
	check "the first fix acted at every moment" absent /tmp/other
	check "it is version 2-1" equals 2-1 "$(installed_version)"
	check "both fixes act" patched_twice
	new=$(newest)
	check "the module is another one" test "$new" != "$module"
	check "the new module alone is enabled" enabled_alone "$new"
	check "the old module is not in the store" fails test -e "$STORE/$module.ko"
	check "the package of the old module has left nothing" fails test -e "/usr/lib/kpatch/$RELEASE/$module.ko"

	check "the package is removed" remove
	check "the kernel is still patched" patched_twice
	check "kpatch list answers" list
	check "the module is listed as loaded" contains "$new [enabled]" /tmp/list
	check "the module is not listed as installed" lacks "($RELEASE)" /tmp/list
	check "its file is gone" fails test -e "$STORE/$new.ko"
}

boot_3() {
	up
	check "after the reboot the kernel is not patched" not_patched
	check "nothing is loaded" nothing_loaded
	check "nothing is listed" lists_nothing

	check "the package is installed again" install
	check "the kernel is patched" patched_twice
	module=$(newest)
	kpatch uninstall "$module" >/tmp/uninstall
	check "kpatch uninstall says so" contains "uninstalling $module" /tmp/uninstall
	check "the module is still loaded" enabled_alone "$module"
	check "the module is not installed" fails test -e "$STORE/$module.ko"
}

boot_4() {
	up
	check "after the reboot the kernel is not patched" not_patched
	check "the module is neither loaded nor installed" lists_nothing

	check "the package is removed" remove
	check "the package is installed again" install
	module=$(newest)
	check "the kernel is patched" enabled_alone "$module"
	check "kpatch.service is enabled" equals enabled "$(systemctl is-enabled kpatch.service)"
	systemctl disable kpatch.service >/tmp/disable 2>&1
	check "systemctl disable names the link" contains /etc/systemd/system/multi-user.target.wants/kpatch.service /tmp/disable
	check "the module stays loaded" enabled_alone "$module"
}

boot_5() {
	up
	module=$(newest)
	systemctl status kpatch.service >/tmp/status
	check "after the reboot kpatch.service is disabled" contains "; disabled;" /tmp/status
	check "it is inactive" contains "inactive (dead)" /tmp/status
	check "the kernel is not patched" not_patched
	check "kpatch list answers" list
	check "nothing is loaded" lacks "[enabled]" /tmp/list
	check "the module is still installed" contains "$module ($RELEASE)" /tmp/list

	check "the module is loaded by hand" kpatch load "$module"
	check "the kernel is patched" patched_twice
	check "the module is unloaded" kpatch unload "$module"
	check "the kernel is not patched any more" not_patched
	check "nothing is loaded then" nothing_loaded
}
