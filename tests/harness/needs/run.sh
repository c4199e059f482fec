# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
# Stand-ins for insmod and rmmod: the modules are empty files.
insmod() {
	[ "$1" != "${REFUSED:-}" ] || return 1
	echo "insmod $*" >>/tmp/steps
}
rmmod() {
	echo "rmmod $1" >>/tmp/steps
}
steps() {
	printf '%s\n' "$@" >/tmp/expected
	same /tmp/expected /tmp/steps
}
dir=${KO_module_upper%/*}
check "the module is loaded" load_module "$KO_module_upper" size=3
check "the modules that it needs are loaded first" steps "insmod $dir/lowest.ko" "insmod $dir/lower.ko" "insmod $dir/upper.ko size=3"
rm /tmp/steps
check "the module is removed" remove_module "$KO_module_upper"
check "the modules that it needs are removed last" steps "rmmod upper" "rmmod lower" "rmmod lowest"
rm /tmp/steps
REFUSED=$dir/lower.ko
check "a module that is refused fails the helper" fails load_module "$KO_module_upper"
check "what was loaded before it is removed" steps "insmod $dir/lowest.ko" "rmmod lowest"
check "another order is a failure" steps "rmmod lowest" "insmod $dir/lowest.ko"
