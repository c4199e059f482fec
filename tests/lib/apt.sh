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

installed() {
	dpkg-query -W -f '${db:Status-Abbrev}' "$NAME" | grep -q '^.i'
}

# recover: what an administrator runs after a transaction that did not end. apt does not flush its lists. A package that was cut
# in its unpacking must be reinstalled, says dpkg. One that was cut at the end of its removal has files of configuration, says dpkg.
recover() {
	rm -rf /var/lib/apt/lists/*
	apt-get update && { dpkg --configure -a || apt-get install --reinstall "$NAME"; } || return
	case $(dpkg-query -W -f '${db:Status-Abbrev}' "$NAME" 2>/dev/null) in
	?c*) dpkg --purge "$NAME" ;;
	esac
}

# consistent: no package is half-installed, and its files are as packed. The image's dpkg leaves out documentation.
consistent() {
	equals "" "$(dpkg --audit)" || return
	! installed || equals "" "$(dpkg --verify "$NAME" | grep -v /usr/share/doc/)"
}

# For faults.sh.
UNREACHABLE="Failed to fetch"
WRONG_SIGNATURE="is not signed"
NO_SPACE="No space left on device"
LOCKED="Could not get lock /var/lib/dpkg/lock-frontend"

errors() {
	grep -e '^E: ' -e '^dpkg: error'
}

# trust: the repository must be signed by the key in /srv/keys; trust_all: it needs no signature.
SOURCE=/etc/apt/sources.list.d/live-patches.list
trust() {
	sed -i 's#trusted=yes#signed-by=/srv/keys/trusted.gpg#' $SOURCE
}
trust_all() {
	sed -i 's#signed-by=/srv/keys/trusted.gpg#trusted=yes#' $SOURCE
}

# first: an update in the background, which waits with the lock of dpkg; second: an update beside it.
first() {
	rm -f /tmp/go /tmp/waits
	apt-get update
	apt-get -o 'DPkg::Pre-Invoke::=touch /tmp/waits; until [ -e /tmp/go ]; do sleep 0.1; done' \
		install --only-upgrade "$NAME" >/tmp/first 2>&1 &
	_first=$!
	check "the first one begins its transaction" wait_until 60 test -e /tmp/waits
}
second() {
	apt-get install --only-upgrade "$NAME"
}
first_ends() {
	touch /tmp/go && wait $_first
}

finish_update() {
	recover
}

# forget: apt takes no repository that is older than the one it knows.
forget() {
	rm -rf /var/lib/apt/lists/*
}
