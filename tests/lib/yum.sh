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

installed() {
	rpm -q "$NAME"
}

# recover: what an administrator runs after a transaction that did not end. dnf does not flush its lists. rpm does not flush
# files, may leave two versions, and takes a package for installed whose script did not run: it is reinstalled.
recover() {
	yum clean all && rpm --rebuilddb || return
	installed || return 0
	[ "$(rpm -q "$NAME" | wc -l)" = 1 ] || yum remove --duplicates || return
	yum reinstall "$NAME"
}

# consistent: one version of the package at most, and its files as packed.
consistent() {
	installed || return 0
	equals 1 "$(rpm -q "$NAME" | wc -l)" && rpm -V "$NAME"
}

# For faults.sh.
UNREACHABLE="Failed to download metadata for repo 'live-patches'"
WRONG_SIGNATURE="GPG check FAILED"
NO_SPACE="[Errno 28] No space left on device"
LOCKED="RPMDB already locked by"

errors() {
	grep -e "^Error" -e "^error" -e "^\[Errno" -e '^RPMDB already locked'
}

# trust: packages must be signed by the key in /srv/keys; trust_all: they need no signature.
trust() {
	rpm --import /srv/keys/trusted.asc
	sed -i s/gpgcheck=0/gpgcheck=1/ /etc/dnf/dnf.conf
}
trust_all() {
	sed -i s/gpgcheck=1/gpgcheck=0/ /etc/dnf/dnf.conf
}

# first: an update in the background, which is stopped in its transaction; second: an update beside it.
first() {
	update >/tmp/first 2>&1 &
	_first=$!
	check "the first one begins its transaction" wait_until 60 test -e /var/lib/dnf/rpmdb_lock.pid
	kill -STOP "$(cat /var/lib/dnf/rpmdb_lock.pid)"
}
second() {
	yum --setopt=exit_on_lock=True update "kpatch-patch*"
}
first_ends() {
	kill -CONT "$(cat /var/lib/dnf/rpmdb_lock.pid)" && wait $_first
}

# finish_update: what the warning of the package's script says.
finish_update() {
	yum reinstall "$NAME"
}

# forget: dnf reads its repositories anew each time (metadata_expire).
forget() {
	:
}
