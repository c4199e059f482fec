# SPDX-License-Identifier: GPL-2.0-or-later
# What the cases know of live patching, after case.sh.

PATCHES=/sys/kernel/livepatch
TRACED=/sys/kernel/tracing/enabled_functions

# attribute <module> <name> <value>: a file of the patch's directory in sysfs holds this value.
attribute() {
	read -r _value <"$PATCHES/$1/$2" || return
	equals "$3" "$_value"
}

# in_transition <module>, settled <module>: whether tasks still have to change over to or from the patch.
in_transition() {
	attribute "$1" transition 1
}
settled() {
	attribute "$1" transition 0
}

# redirected <function>: this phase's copy of the list of traced functions says that its calls go through the
# livepatch trampoline.
redirected() {
	grep -q "^$1 .*klp_ftrace_handler" "$(collected $TRACED)" && return
	echo "the list of traced functions:"
	cat "$(collected $TRACED)"
	return 1
}

# not_redirected <function>: the list was collected and the function is not in it.
not_redirected() {
	[ -e "$(collected $TRACED)" ] || return
	! grep "^$1 " "$(collected $TRACED)"
}

# listed <module> <state>: `kpatch list` shows it so.
listed() {
	kpatch list >/tmp/list || return
	grep -qxF "$1 [$2]" /tmp/list && return
	cat /tmp/list
	return 1
}

# unloaded <module>: nothing of it is left in the kernel.
unloaded() {
	absent "$PATCHES/$1" && absent "/sys/module/$1"
}
