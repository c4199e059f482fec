# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts of the fleet share.
. /lib/livepatch.sh

NAME=kpatch-patch-$RELEASE
STORE=/var/lib/kpatch/$RELEASE
HOST=$(cat /etc/hostname)
BEFORE=/var/tmp/history-before

# The fixes of version 1 act, and not those of version 2; the fixes of both act.
patched() {
	reads "patched from Rust" /proc/cmdline && lacks "nr_processes: " /proc/version
}
patched_twice() {
	reads "patched from Rust" /proc/cmdline && contains "nr_processes: " /proc/version
}

# version <version>: the package has this version.
version() {
	equals "$1" "$(dpkg-query -W -f '${Version}' "$NAME")"
}

# enabled_alone: the only module in the store is the only enabled patch.
enabled_alone() {
	set -- "$STORE"/*.ko
	equals 1 $# && equals "$(basename "$1" .ko)" "$(ls $PATCHES)"
}

status() {
	kpatch status --check >/tmp/status && contains "KPATCH OK" /tmp/status
}
