# SPDX-License-Identifier: GPL-2.0-or-later
# Booted with kpatch.enable=0.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "the switch is on the command line" contains kpatch.enable=0 /proc/cmdline
check "the service is enabled" equals enabled "$(systemctl is-enabled kpatch.service)"
check "but did nothing" equals inactive "$(systemctl is-active kpatch.service)"
check "nothing is loaded" equals "" "$(ls /sys/kernel/livepatch)"
