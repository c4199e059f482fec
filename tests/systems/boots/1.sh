# SPDX-License-Identifier: GPL-2.0-or-later
# Nothing is installed: the service has nothing to do. Then a patch is installed, for the next boot.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "kpatch.service is not enabled" fails_with 1 systemctl is-enabled kpatch.service
check "the module is installed" kpatch install "$KO_demo" || exit
check "that has enabled the service" equals enabled "$(systemctl is-enabled kpatch.service)"
check "nothing is loaded" equals "" "$(ls /sys/kernel/livepatch)"
kpatch status >/tmp/status
check "status says what the next boot will do" grep -q "Next boot:   kpatch.service loads kpatch_" /tmp/status
check "monitors are warned" fails_with 1 kpatch status --check
