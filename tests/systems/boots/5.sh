# SPDX-License-Identifier: GPL-2.0-or-later
# It is trusted again.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "the patch acts" reads "patched from Rust" /proc/cmdline
check "the service is active" systemctl is-active kpatch.service
systemctl disable -q kpatch.service
check "it can be disabled" equals disabled "$(systemctl is-enabled kpatch.service)"
check "the patch stays" reads "patched from Rust" /proc/cmdline
check "an update does not enable it" kpatch install "$KO_demo"
check "it is disabled still" equals disabled "$(systemctl is-enabled kpatch.service)"
