# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
echo "<4>WARNING: CPU: 0 PID: 1 at kernel/none.c:1 nothing" >/dev/kmsg
check "this holds" true
