# SPDX-License-Identifier: GPL-2.0-or-later
# The case timens-nanoseconds says what the fault is.
. /lib/case.sh
. /lib/livepatch.sh

# -5 * 10^17 nanoseconds as an unsigned number, and seconds that make up for them.
IMPOSSIBLE="monotonic 500000100 17946744073709551616"

# answer <lines>: why the kernel refuses these offsets of a namespace in use.
answer() {
	sh -c 'echo "$0" >/proc/self/timens_offsets && echo none' "$1" 2>&1 | sed 's/.*: //'
}

# answers: to offsets that the fault is not about.
answers() {
	for _line in "monotonic 1 0" "boottime 1 999999999" "monotonic 1 1000000000" "realtime 1 0" "monotonic 4611686018 0" "boottime -1000000 0"; do
		echo "$_line: $(answer "$_line")"
	done
}

# form <name> <file>: the fix in one of its forms.
form() {
	module=$(module_of "$2")
	check "$1: kpatch load succeeds" kpatch load "$2" || return
	check "$1: the impossible offset is refused" equals "Invalid argument" "$(answer "$IMPOSSIBLE")"
	answers >"/tmp/$1"
	keep "$1" "/tmp/$1"
	check "$1: all other answers are the original's" same /tmp/before "/tmp/$1"
	check "$1: kpatch unload succeeds" kpatch unload "$module"
	check "$1: the original is back" equals "Permission denied" "$(answer "$IMPOSSIBLE")"
	check "$1: nothing of the patch is left" unloaded "$module"
}

answers >/tmp/before
keep before /tmp/before
check "the fault is there: the offset passes for a good one" equals "Permission denied" "$(answer "$IMPOSSIBLE")"
check "a good offset gets as far as the namespace" contains "boottime 1 999999999: Permission denied" /tmp/before
form diff "$KO_timens_diff"
form guard "$KO_timens_guard"
form whole "$KO_timens_nanoseconds"
