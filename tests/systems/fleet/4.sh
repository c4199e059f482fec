# SPDX-License-Identifier: GPL-2.0-or-later
# Machine b will load no module any more.
. /lib/case.sh
. /case/fleet.sh
check "the history is kept" prints history kpatch history
cp "$EVIDENCE/history" "$BEFORE"
if [ "$HOST" = b ]; then
	sysctl -w kernel.modules_disabled=1
	check "no module can be loaded" reads 1 /proc/sys/kernel/modules_disabled
fi
