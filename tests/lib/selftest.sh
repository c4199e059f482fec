# SPDX-License-Identifier: GPL-2.0-or-later
# What the scenarios of the kernel's livepatch selftests have in common, after case.sh and livepatch.sh: as there, modules
# are loaded by insmod alone, and the kernel tells in its log all that it does.

# _tell <p flag>: the livepatch core's debug messages; not those about each task, which come as they come.
_tell() {
	echo "file kernel/livepatch/* $1" >/proc/dynamic_debug/control &&
		echo "func klp_try_switch_task -p" >/proc/dynamic_debug/control
}
check "the kernel tells of each step" _tell +p || exit
trap '_tell -p' EXIT

# load_lp <file>: loads a live patch and waits until its transition is over.
load_lp() {
	_lp=$(module_of "$1")
	check "$_lp is loaded" insmod "$1" || exit
	check "$_lp: the transition ends" wait_until 30 settled "$_lp" || exit
}

# refuses <text> <command...>: the command fails, and says why.
refuses() {
	_why=$1
	shift
	fails "$@" >/tmp/refused 2>&1 || { cat /tmp/refused; return 1; }
	contains "$_why" /tmp/refused
}

# disable_lp <file>: disables a live patch and waits until nothing of it is left but the module.
disable_lp() {
	_lp=$(module_of "$1")
	check "$_lp is disabled" write 0 "$PATCHES/$_lp/enabled"
	check "$_lp: nothing of the patch is left" wait_until 30 absent "$PATCHES/$_lp"
}

unload_lp() {
	_lp=$(module_of "$1")
	check "$_lp is removed" rmmod "$_lp"
}

load_mod() {
	check "$(module_of "$1") comes" insmod "$@" || exit
}

unload_mod() {
	check "$1 goes" rmmod "$1"
}

# write <text> <file>
write() {
	echo "$1" >"$2"
}
