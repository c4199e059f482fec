# SPDX-License-Identifier: GPL-2.0-or-later
NAME=kpatch-patch-$RELEASE

prepare() {
	rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
	echo 'deb [trusted=yes] file:/srv/now/deb stable main' >/etc/apt/sources.list.d/live-patches.list
	echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/50assume-yes
	export DEBIAN_FRONTEND=noninteractive
	apt-get update
}

search() {
	apt-cache search --names-only "$(echo "kpatch-patch-$(uname -r)" | sed 's/[.+]/\\&/g')" >/tmp/search && contains "$NAME" /tmp/search
}

install() {
	apt-get update && apt-get install "kpatch-patch=$(uname -r)"
}

update() {
	apt-get update && apt-get install --only-upgrade "$NAME"
}

update_all() {
	apt-get update && apt-get install --only-upgrade "kpatch-patch*"
}

remove() {
	apt-get remove "$NAME"
}

installed_version() {
	dpkg-query -W -f '${Version}\n' "$NAME"
}
