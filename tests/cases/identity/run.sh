# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/work.sh

module=kpatch_copies
file=$(env | sed -n "s/^KO_copies[0-9_]*=//p")

work before
check "kpatch load succeeds" kpatch load "$file" || exit
work copied
check "the answers are as before" same /tmp/before /tmp/copied
for round in 1 2 3 4 5; do work "again.$round"; done
check "and the fifth time" same /tmp/before /tmp/again.5
# unload: names the tasks that the transition waits for, with their stacks.
unload() {
	kpatch unload "$module" && return
	for task in /proc/[0-9]*; do
		[ "$(cat "$task/patch_state" 2>/dev/null)" = 1 ] || continue
		echo "$task: $(cat "$task/comm")"
		cat "$task/stack"
	done
	return 1
}
check "kpatch unload succeeds" unload
work after
check "the answers are as before" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
