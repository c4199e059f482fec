# SPDX-License-Identifier: GPL-2.0-or-later
# Offsets of a time namespace are written to the timens_offsets of a process that made the namespace and is not in it
# yet. In a namespace that is in use, as the first one, they are fixed, and each writer is refused; the reason tells how
# far the kernel went: "Invalid argument" where the offset is none, "Permission denied" where only the namespace is not
# to be changed.
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_timens_nanoseconds")

# -5 * 10^17 nanoseconds as an unsigned number, and seconds that make up for them.
IMPOSSIBLE="monotonic 500000100 17946744073709551616"

# answer <lines> [pid]: why the kernel refuses these offsets, for a process; "none" where it takes them.
answer() {
	sh -c 'echo "$0" >"/proc/$1/timens_offsets" && echo none' "$1" "${2:-self}" 2>&1 | sed 's/.*: //'
}

# answers: to offsets that the fault is not about.
answers() {
	for _line in "monotonic 1 0" "boottime 1 999999999" "7 -1 0" "monotonic 1 0
boottime 1 0" "monotonic 1 1000000000" "realtime 1 0" "monotonic 9223372037 0" "monotonic 4611686018 0" \
		"boottime -9223372037 0" "boottime -1000000 0"; do
		echo "$_line: $(answer "$_line")"
	done
	echo "without the right: $(unshare -U sh -c 'echo monotonic 1 0 >/proc/self/timens_offsets' 2>&1 | sed 's/.*: //')"
}

# measure: `busy` becomes the processor time that the kernel spends on the impossible offset, in hundredths of a second.
# Not how long it takes: that is up to the host.
measure() {
	busy=$(sh -c '
		read -r before </proc/self/stat
		echo "$0" >/proc/self/timens_offsets
		read -r after </proc/self/stat
		set -- $before
		start=${15}
		set -- $after
		echo $((${15} - start))' "$IMPOSSIBLE" 2>/dev/null)
	echo "processor time for the impossible offset: $busy hundredths of a second"
}
at_least() {
	[ "$2" -ge "$1" ] && return
	echo "$2 is less than $1"
	return 1
}

# new_namespace: `holder` becomes the pid of a process with a time namespace of its own for its children. No command of
# the guest makes one, hence this program of 141 bytes: an ELF header, one program header, and
#	mov $0x80,%edi; mov $272,%eax; syscall			unshare(CLONE_NEWTIME)
#	again: mov $34,%eax; syscall; jmp again			pause()
new_namespace() {
	{
		printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\76\0\1\0\0\0\170\0\100\0\0\0\0\0\100\0\0\0\0\0\0\0'
		printf '\0\0\0\0\0\0\0\0\0\0\0\0\100\0\70\0\1\0\0\0\0\0\0\0'
		printf '\1\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\100\0\0\0\0\0'
		printf '\215\0\0\0\0\0\0\0\215\0\0\0\0\0\0\0\0\20\0\0\0\0\0\0'
		printf '\277\200\0\0\0\270\20\1\0\0\17\5\270\42\0\0\0\17\5\353\367'
	} >/tmp/holder
	chmod 755 /tmp/holder
	/tmp/holder &
	holder=$!
	wait_until 20 has_namespace
}
has_namespace() {
	! equals "$(readlink /proc/self/ns/time)" "$(readlink /proc/$holder/ns/time_for_children)"
}
leave_namespace() {
	kill $holder
	wait $holder || :
}

# offset <clock>: what the new namespace has for it.
offset() {
	while read -r _clock _seconds _nanoseconds; do
		[ "$_clock" != "$1" ] || echo $_seconds $_nanoseconds
	done </proc/$holder/timens_offsets
}

# takes_good <seconds>: in a new namespace, offsets that are good are taken and kept, and others change nothing.
takes_good() {
	equals none "$(answer "monotonic $1 999999999
boottime -1 5" $holder)" && equals "$1 999999999" "$(offset monotonic)" && equals "-1 5" "$(offset boottime)" &&
		equals "Numerical result out of range" "$(answer "boottime 7 7
monotonic 9223372037 0" $holder)" && equals "-1 5" "$(offset boottime)"
}

answers >/tmp/answers
keep answers /tmp/answers
check "a good offset gets as far as the namespace" contains "boottime 1 999999999: Permission denied" /tmp/answers
check "seconds out of range are refused as such" contains "monotonic 4611686018 0: Numerical result out of range" /tmp/answers
check "a writer without the right is refused" contains "without the right: Operation not permitted" /tmp/answers

case $KERNEL in
*-old) ;;
*)
	measure
	check "this kernel refuses an impossible offset" equals "Invalid argument" "$(answer "$IMPOSSIBLE")"
	check "it does so without counting" at_least "$busy" 5
	check "a process has a new time namespace" new_namespace
	check "it refuses the impossible offset" equals "Invalid argument" "$(answer "$IMPOSSIBLE" $holder)"
	check "it takes good ones" takes_good 3
	leave_namespace
	exit
	;;
esac

measure
faulty=$busy
check "before: the kernel counts the impossible nanoseconds away, second by second" at_least 5 "$faulty"
check "before: the offset passes for a good one" equals "Permission denied" "$(answer "$IMPOSSIBLE")"
check "before: a process has a new time namespace" new_namespace
check "before: it takes the impossible offset" equals none "$(answer "$IMPOSSIBLE" $holder)"
check "before: and keeps it" equals "500000100 -500000000000000000" "$(offset monotonic)"
leave_namespace

check "kpatch load succeeds" kpatch load "$KO_timens_nanoseconds" || exit
phase patched
measure
check "the function is redirected" redirected proc_timens_set_offset
check "the kernel does not count any more" at_least "$busy" $((faulty / 5))
check "the impossible offset is refused" equals "Invalid argument" "$(answer "$IMPOSSIBLE")"
answers >/tmp/patched-answers
keep patched-answers /tmp/patched-answers
check "all other answers are the original's" same /tmp/answers /tmp/patched-answers
check "a process has a new time namespace" new_namespace
check "it refuses the impossible offset" equals "Invalid argument" "$(answer "$IMPOSSIBLE" $holder)"
check "its offsets are as they were" equals "0 0" "$(offset monotonic)"
check "it takes good ones" takes_good 3
check "kpatch unload succeeds" kpatch unload "$module"
phase reverted
measure
check "the function is no longer redirected" not_redirected proc_timens_set_offset
check "the kernel counts again" at_least 5 "$busy"
check "the namespace that refused the impossible offset takes it now" equals none "$(answer "$IMPOSSIBLE" $holder)"
check "what the replacement stored is what the original finds" equals "-1 5" "$(offset boottime)"
leave_namespace
check "nothing of the patch is left" unloaded "$module"
