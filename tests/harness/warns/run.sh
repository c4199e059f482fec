# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
# The kernel names the task that drops caches: these are its own words.
warn() {
	(
		echo -n "WARNING: $1" >/proc/self/comm
		echo 1 >/proc/sys/vm/drop_caches
	)
}
warn mine
check "this holds" true
