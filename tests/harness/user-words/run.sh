# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
for words in "Kernel panic - not syncing: x" "WARNING: CPU: 0 PID: 1 at kernel/none.c:1" "BUG: unable to handle page fault" \
	"Oops: 0002 [#1]" "INFO: task a:1 blocked" "general protection fault" "reboot: Restarting system"; do
	echo "$words" >/dev/kmsg
	echo "<0>$words" >/dev/kmsg
	echo "$words" >/dev/console
done
check "this holds" true
