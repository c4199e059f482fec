# SPDX-License-Identifier: GPL-2.0-or-later
# What the cases know of live patching, after case.sh.

PATCHES=/sys/kernel/livepatch
TRACING=/sys/kernel/tracing
TRACED=$TRACING/enabled_functions

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

# held <module> <pid> <function>: two seconds later the task is still asleep in the function, and the transition of the module is
# not over.
held() {
	sleep 2
	asleep_in "$2" "$3" || { echo "$2 does not sleep any more"; return 1; }
	in_transition "$1" || { echo "NOT HELD"; return 1; }
}

# asleep_in <pid> <function>: the task's stack has the function.
asleep_in() {
	grep -q "$2" "/proc/$1/stack"
}

# disable <module>: starts the way back.
disable() {
	echo 0 >"$PATCHES/$1/enabled"
}

# hits <name>: how often a kprobe has fired.
hits() {
	awk -v name="$1" '$1 == name { print $2 }' $TRACING/kprobe_profile
}

# start_reader <text> <file>: reads the first line of the file without a pause, in the background, until stop_reader. The first
# line that is not this text ends it and is kept in /tmp/other. `read` is the shell's own: no process is started between
# two looks, so that there are as many as can be.
start_reader() {
	rm -f /tmp/stop /tmp/other
	echo 0 >/tmp/count
	_reader "$1" "$2" &
	_reader=$!
}
_reader() {
	_count=0
	while [ ! -e /tmp/stop ]; do
		read -r _line <"$2"
		if [ "$_line" != "$1" ]; then
			echo "$_line" >/tmp/other
			break
		fi
		_count=$((_count + 1))
		echo $_count >/tmp/count
	done
}

# read_on: the reader has read again since this was asked. The file is empty for a moment each time it is written.
read_on() {
	wait_until 20 _counted && _last=$_now && wait_until 20 _another
}
_counted() {
	read -r _now </tmp/count && [ -n "$_now" ]
}
_another() {
	_counted && [ "$_now" -gt "$_last" ]
}

stop_reader() {
	touch /tmp/stop
	wait $_reader
}
