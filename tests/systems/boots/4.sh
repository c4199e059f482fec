# SPDX-License-Identifier: GPL-2.0-or-later
# After the crash: not patched, and everybody says why.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up, degraded" contains degraded /tmp/running
check "nothing is loaded" equals "" "$(ls /sys/kernel/livepatch)"
check "the service has failed" equals failed "$(systemctl is-active kpatch.service)"
systemctl status kpatch.service >/tmp/unit
check "it says why" contains "is left out: the boot in which it was loaded at" /tmp/unit
kpatch status >/tmp/status
check "status says why, and what to do" grep -q "leaves kpatch_.* out: an earlier boot with it ended unclean; kpatch load" /tmp/status
kpatch status --check >/tmp/check
check "monitors are warned" equals 1 $?
check "with the reason" contains "an earlier boot with it ended unclean" /tmp/check
check "loaded by name it acts" kpatch load "$(basename "$KO_demo")"
check "and is there" reads "patched from Rust" /proc/cmdline
check "it can be confirmed" kpatch confirm
