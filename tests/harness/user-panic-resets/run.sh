# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "something before" true
echo "Kernel panic - not syncing: x" >/dev/kmsg
reboot -f
