# SPDX-License-Identifier: GPL-2.0-or-later
# dnf as yum, as Red Hat's systems have it.
NAME=kpatch-patch-$(echo "$RELEASE" | tr . _)

prepare() {
	ln -sf dnf-3 /usr/bin/yum
	# Debian's rpm keeps its database in the home directory.
	mkdir -p /etc/rpm /etc/yum.repos.d /etc/dnf/vars
	echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
	echo 12 >/etc/dnf/vars/releasever
	printf '[main]\nassumeyes=True\nmetadata_expire=0\ngpgcheck=0\n' >/etc/dnf/dnf.conf
	printf '[live-patches]\nname=Kernel live patches\nbaseurl=file:///srv/now/rpm\n' >/etc/yum.repos.d/live-patches.repo
	yum install guest-base kpatch
}

search() {
	yum search "$(uname -r)" >/tmp/search && contains "$NAME" /tmp/search
}

install() {
	yum install "kpatch-patch = $(uname -r)"
}

update() {
	yum update "kpatch-patch = $(uname -r)"
}

update_all() {
	yum update "kpatch-patch*"
}

remove() {
	yum remove "$NAME"
}

installed_version() {
	rpm -q --qf '%{VERSION}-%{RELEASE}\n' "$NAME"
}
