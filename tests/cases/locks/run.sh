# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_locks")
state() {
	sed -n "s/^$1 //p" /proc/klp_locked_state
}
index() {
	echo "$1" >/sys/module/klp_locked/parameters/index
}
both_free() {
	equals "free free" "$(state mutex) $(state spinlock)"
}
check "the module is loaded" insmod "$KO_module_klp_locked" || exit
check "before: the module answers" reads "original 10" /proc/klp_locked
check "kpatch load succeeds" kpatch load "$KO_locks" || exit
index 2
before=$(state count)
check "the replacement answers" reads "patched 12" /proc/klp_locked
check "it counted once, under the spinlock" equals $((before + 1)) "$(state count)"
check "both locks are free" both_free
index 4
check "an index that the table does not have is refused" fails_with 1 cat /proc/klp_locked
cat /proc/klp_locked 2>/tmp/refused
check "with EINVAL" contains "Invalid argument" /tmp/refused
check "both locks are free after that, too" both_free
index 3
check "kpatch unload succeeds" kpatch unload "$module"
check "the original can take the locks" reads "original 13" /proc/klp_locked
check "nothing of the patch is left" unloaded "$module"
check "the module leaves" rmmod klp_locked
