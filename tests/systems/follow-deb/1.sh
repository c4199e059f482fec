# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

NAME=kpatch-patch-$RELEASE
CONFIG=/etc/apt/kpatch.conf

prepare() {
	ln -sfn /srv/1 /srv/now
	rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
	echo 'deb [trusted=yes] file:/srv/now/deb stable main' >/etc/apt/sources.list.d/live-patches.list
	echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/50assume-yes
	export DEBIAN_FRONTEND=noninteractive
	apt-get update && apt-get install kpatch
}

# state: of the live patch package.
state() {
	dpkg-query -W -f '${db:Status-Status}' "$NAME" 2>/dev/null
}

installed() {
	equals installed "$(state)"
}

# idle: the unit of the hook has done its work.
idle() {
	equals inactive "$(systemctl is-active kpatch-follow.service)"
}

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "kpatch is installed" prepare || exit
dpkg-query -W -f '${Conffiles}\n' kpatch >/tmp/conffiles
check "the hook is a configuration file of the package" contains /etc/apt/apt.conf.d/90kpatch /tmp/conffiles
check "its configuration is one" contains $CONFIG /tmp/conffiles

mkdir -p "/lib/modules/$RELEASE" /boot && : >"/boot/vmlinuz-$RELEASE"
check "no package is wanted at first" equals "" "$(kpatch follow)"
check "another package is installed" apt-get install guest-base
check "the hook has started nothing" idle
check "there is no live patch package" equals "" "$(state)"

sed -i 's/^autoupdate=False/autoupdate=True/' $CONFIG
check "the package is wanted then" equals "$NAME" "$(kpatch follow)"
check "another package is installed again" apt-get install --reinstall guest-base
check "the live patch package comes with it" wait_until 30 installed
check "the unit ends" wait_until 30 idle
check "the kernel is patched" reads "patched from Rust" /proc/cmdline
check "the unit has succeeded" equals success "$(systemctl show -P Result kpatch-follow.service)"
check "it does nothing more when all is there" systemctl start kpatch-follow.service

# The administrator's settings stay.
check "kpatch is installed again" apt-get install --reinstall kpatch
check "the configuration is as before" contains autoupdate=True $CONFIG
check "the package is removed" apt-get remove "$NAME"
rm /srv/now
check "a repository that is gone is an error" fails systemctl start kpatch-follow.service
check "the package is not there" fails_with 1 installed
rm /etc/apt/sources.list.d/live-patches.list
check "apt forgets the repository" apt-get update
check "a package that no repository has is left alone" systemctl start kpatch-follow.service
check "a broken configuration is an error" sh -c "echo autoupdate=perhaps >>$CONFIG"
check "the unit fails" fails systemctl start kpatch-follow.service
journalctl -u kpatch-follow.service >/tmp/journal
check "its journal names the value" contains perhaps /tmp/journal
