# SPDX-License-Identifier: GPL-2.0-or-later
# The quick reboot has skipped nothing. Now the machine crashes.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "after a quick reboot in good order the patch acts" reads "patched from Rust" /proc/cmdline
kpatch history >/tmp/history
check "the reboot has confirmed it" grep -q " confirm .* done: " /tmp/history
sync
echo 1 >/proc/sys/kernel/sysrq
echo c >/proc/sysrq-trigger
