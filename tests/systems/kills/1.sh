# SPDX-License-Identifier: GPL-2.0-or-later
# loader/tests/kills.rs kills before every system call, on a kernel of files; here it is the real one, at every fourth.
. /lib/case.sh

patch=$(basename "$KO_demo" .ko)
kpatch install "$KO_demo" >/dev/null 2>&1
cat /proc/cmdline >/tmp/original
STRIDE=4

# calls <command...>: the system calls that it makes once it has the lock, as `name number`: strace counts each name by
# itself.
calls() {
	strace -f -qq -o /tmp/trace "$@" >/dev/null 2>&1
	sed 's/^[0-9]* *//' /tmp/trace | awk -F'(' '
		/^[a-z_0-9]+\(/ { count[$1]++ }
		/flock/ { locked = 1 }
		locked && /^[a-z_0-9]+\(/ && $1 != "exit_group" && ++seen % '$STRIDE' == 0 { print $1, count[$1] }'
}
patched() {
	[ "$(cat /proc/cmdline)" = "patched from Rust" ]
}
# fine: what must hold after a kill, whenever it came.
fine() {
	kpatch list >/dev/null && kpatch status >/dev/null && kpatch history >/dev/null &&
		cmp -s "$KO_demo" "/var/lib/kpatch/$RELEASE/$patch.ko"
}

kpatch load "$patch" >/dev/null 2>&1
kpatch unload "$patch" >/dev/null 2>&1
calls kpatch load "$patch" >/tmp/load
calls kpatch unload "$patch" >/tmp/unload
check "the system calls of a load are known" [ "$(wc -l </tmp/load)" -ge 15 ]
check "the system calls of an unload are known" [ "$(wc -l </tmp/unload)" -ge 5 ]
killed=0
wrong=0
say() {
	wrong=$((wrong + 1))
	echo "# $*"
}
while read -r name number; do
	strace -f -qq -o /dev/null -e "inject=$name:signal=KILL:when=$number" kpatch load "$patch" >/dev/null 2>&1 </dev/null || killed=$((killed + 1))
	fine || say "load killed at $name $number: the store or a verb is broken"
	kpatch load "$patch" >/tmp/again 2>&1 || say "load killed at $name $number: the second run failed: $(cat /tmp/again)"
	patched || say "load killed at $name $number: the second run did not patch"
	kpatch unload "$patch" >/tmp/again 2>&1 || say "load killed at $name $number: cannot be unloaded: $(cat /tmp/again)"
done </tmp/load
check "of the loads nearly all were killed ($killed)" [ $killed -ge $(($(wc -l </tmp/load) - 3)) ]
killed=0
while read -r name number; do
	kpatch load "$patch" >/dev/null 2>&1
	strace -f -qq -o /dev/null -e "inject=$name:signal=KILL:when=$number" kpatch unload "$patch" >/dev/null 2>&1 </dev/null || killed=$((killed + 1))
	fine || say "unload killed at $name $number: the store or a verb is broken"
	kpatch unload "$patch" >/tmp/again 2>&1
	case $? in
	0 | 3) ;;
	*) say "unload killed at $name $number: the second run failed: $(cat /tmp/again)" ;;
	esac
	cmp -s /tmp/original /proc/cmdline || say "unload killed at $name $number: the second run did not revert"
done </tmp/unload
check "of the unloads nearly all were killed ($killed)" [ $killed -ge $(($(wc -l </tmp/unload) - 3)) ]
check "each was completed by a second run" equals 0 $wrong
check "the original is back" same /tmp/original /proc/cmdline
