# SPDX-License-Identifier: GPL-2.0-or-later
# The machine has version 1, and a repository with version 2; Ansible reaches it.
. /lib/case.sh
. /case/fleet.sh

prepare() {
	ln -sfn /srv/1 /srv/now
	rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
	echo 'deb [trusted=yes] file:/srv/now/deb stable main' >/etc/apt/sources.list.d/live-patches.list
	export DEBIAN_FRONTEND=noninteractive
	apt-get update && apt-get -y install guest-base kpatch "kpatch-patch=$(uname -r)"
}

network() {
	busybox ip link set lo up && busybox ip link set eth0 up && busybox ip address add 10.0.2.15/24 dev eth0
}

systemctl is-system-running --wait >/tmp/running
check "the system is up" contains running /tmp/running
check "the machine subscribes to version 1" prepare || exit
check "version 1 acts" patched
check "it is version 1-1" version 1-1
check "the network is up" network
check "sshd runs" systemctl is-active ssh
ln -sfn /srv/2 /srv/now
