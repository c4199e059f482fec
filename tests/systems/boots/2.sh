# SPDX-License-Identifier: GPL-2.0-or-later
# The boot has loaded it. A reboot follows at once, before it could settle.
. /lib/case.sh

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "kpatch.service is active" systemctl is-active kpatch.service
check "the patch acts" reads "patched from Rust" /proc/cmdline
check "monitors are content" kpatch status --check
check "it is not confirmed yet" grep -q "not confirmed yet" <<EOT
$(kpatch status)
EOT
journalctl -q MESSAGE_ID=5d1a7c0f3bd14d0c9d0c1f5a8e6f2a01 -o cat >/tmp/journal
check "the journal has a record of the load" grep -q "^load kpatch_.*: done" /tmp/journal
check "the service was there before the network" grep -q network-pre.target <<EOT
$(systemctl show -p Before kpatch.service)
EOT
