# SPDX-License-Identifier: GPL-2.0-or-later
# It is trusted again.
. /lib/case.sh

on_trial() {
	kpatch status >/tmp/status
	[ -s /tmp/status ] || return 2
	grep "not confirmed yet" /tmp/status
}

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "the patch acts" reads "patched from Rust" /proc/cmdline
check "the service is active" systemctl is-active kpatch.service
systemctl list-dependencies --plain --all rescue.target emergency.target >/tmp/rescue
check "rescue and emergency mode are looked at" contains rescue.service /tmp/rescue
check "they do not apply patches" lacks kpatch /tmp/rescue

phase settling
check "it is not confirmed yet" on_trial
mkdir -p /run/systemd/system/kpatch-settle.service.d
cat >/run/systemd/system/kpatch-settle.service.d/quick.conf <<EOT
[Service]
ExecStart=
ExecStart=/usr/sbin/kpatch confirm --settle 1
EOT
systemctl daemon-reload
systemctl stop kpatch-settle.service
check "stopping the wait confirms at once" fails_with 1 on_trial
check "loaded anew it is on trial" kpatch unload "$(basename "$KO_demo" .ko)"
check "it is loaded by hand" kpatch load "$KO_demo"
check "when it has settled it is confirmed" wait_until 30 fails_with 1 on_trial
journalctl -q MESSAGE_ID=5d1a7c0f3bd14d0c9d0c1f5a8e6f2a08 -o cat >/tmp/journal
check "the journal says so" grep -q "^confirm kpatch_.*: done: it has settled" /tmp/journal

phase disabled
check "the service is enabled" equals enabled "$(systemctl is-enabled kpatch.service)"
systemctl disable -q kpatch.service
check "it can be disabled" equals disabled "$(systemctl is-enabled kpatch.service)"
check "the patch stays" reads "patched from Rust" /proc/cmdline
check "an update does not enable it" kpatch install "$KO_demo"
check "it is disabled still" equals disabled "$(systemctl is-enabled kpatch.service)"
systemctl enable -q kpatch.service
