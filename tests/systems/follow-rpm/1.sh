# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

NAME=kpatch-patch-$(echo "$RELEASE" | tr . _)
CONFIG=/etc/dnf/plugins/kpatch.conf
# Debian's directory of dnf's plug-ins.
LINK=/usr/lib/python3/dist-packages/dnf-plugins/kpatch.py

prepare() {
	ln -sfn /srv/1 /srv/now
	mkdir -p /etc/rpm /etc/yum.repos.d /etc/dnf/vars "${LINK%/*}"
	# Debian's rpm keeps its database in the home directory.
	echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
	echo 12 >/etc/dnf/vars/releasever
	printf '[main]\nassumeyes=True\nmetadata_expire=0\ngpgcheck=0\n' >/etc/dnf/dnf.conf
	printf '[live-patches]\nname=Kernel live patches\nbaseurl=file:///srv/now/rpm\n' >/etc/yum.repos.d/live-patches.repo
	dnf install guest-base kpatch
}

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "kpatch is installed" prepare || exit
check "dnf finds the plug-in" equals /usr/share/kpatch/dnf-plugins/kpatch.py "$(readlink $LINK)"
rpm -q --configfiles kpatch >/tmp/configs
check "its configuration is a configuration file" contains $CONFIG /tmp/configs
check "so is the file for dnf 5" contains /etc/dnf/libdnf5-plugins/actions.d/kpatch.actions /tmp/configs

dnf kpatch status >/tmp/status
check "the plug-in is off" contains "Kpatch update setting: manual" /tmp/status
check "the package of the running kernel is offered" contains "$RELEASE: $NAME (offered)" /tmp/status
check "dnf kpatch auto" dnf kpatch auto
check "the package is installed" rpm -q "$NAME"
check "the kernel is patched" reads "patched from Rust" /proc/cmdline
check "the setting is written" contains "autoupdate = True" $CONFIG

check "kpatch is installed again" dnf reinstall kpatch
check "the setting is as before" contains "autoupdate = True" $CONFIG

# kpatch-follow on a machine without apt and dnf 5.
check "the package is removed" rpm -e "$NAME"
mkdir /tmp/bin
for program in sh rpm dnf; do ln -s "$(command -v $program)" /tmp/bin/; done
# The guest has dpkg too, so kpatch would choose Debian's names.
printf '#!/bin/sh\nexec /usr/sbin/kpatch "$@" --packages rpm\n' >/tmp/bin/kpatch
chmod +x /tmp/bin/kpatch
mkdir -p "/lib/modules/$RELEASE" /boot && : >"/boot/vmlinuz-$RELEASE"
check "the package is wanted" equals "$NAME" "$(/tmp/bin/kpatch follow)"
check "kpatch-follow installs it with dnf 4" env PATH=/tmp/bin /usr/libexec/kpatch/kpatch-follow
check "the package is there" rpm -q "$NAME"
check "the second run changes nothing" env PATH=/tmp/bin /usr/libexec/kpatch/kpatch-follow

check "all is removed" dnf remove "$NAME" kpatch
check "no link is left" fails test -L $LINK
