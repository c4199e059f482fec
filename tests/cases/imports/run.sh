# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_imports")

# field <name>: what the replaced /proc/version says after `<name>: `.
field() {
	sed -n "s/^$1: //p" /proc/version
}

# address <name> <n>: the n-th symbol of that name in the kernel itself.
address() {
	awk -v name="$1" -v n="$2" 'NF == 3 && $3 == name && ++seen == n { print $1 }' /proc/kallsyms
}

more_than() {
	[ "$2" -gt "$1" ] && return
	echo "$2 is not more than $1"
	return 1
}

keep original /proc/version
check "kpatch load succeeds" kpatch load "$KO_imports" || exit
keep patched /proc/version
check "the export in a namespace is called: EBADF" equals -9 "$(field error)"
check "the fifth function of the name is called" equals 0x1234 "$(field shown)"
check "the variable is this CPU's: interrupts were counted" more_than 0 "$(field interrupts)"
check "the inline function of the fix's own header is called" equals 42 "$(field answer)"
check "the first variable of the name is the first" equals "$(address attr_group 1)" "$(field group1)"
check "the second is the second" equals "$(address attr_group 2)" "$(field group2)"
check "a static local has a name in Rust" equals "$(address graveyard.0 1)" "$(field graveyard.0)"
check "kpatch unload succeeds" kpatch unload "$module"
check "/proc/version is the original, byte for byte" same "$EVIDENCE/original" /proc/version
check "nothing of the patch is left" unloaded "$module"
