# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

missed=$(module_of "$KO_inlined_missed")
module=$(module_of "$KO_inlined")

inlined() {
	reads "limited to $1" /proc/klp_inlined
}
pointer() {
	reads "limited to $1" /proc/klp_inlined_pointer
}

check "the module is loaded" insmod "$KO_module_klp_inlined" || exit
check "before: the caller has the old limit" inlined 3
check "so has the function behind the pointer" pointer 3

check "the fix that forgot the caller loads" kpatch load "$KO_inlined_missed" || exit
check "the function behind the pointer has the new limit" pointer 8
check "the caller, which has it inlined, still has the old one" inlined 3

check "the whole fix replaces it" kpatch load "$KO_inlined" || exit
[ ! -d "/sys/module/$missed" ] || check "the replaced one can be removed" kpatch unload "$missed"
check "nothing of it is left" unloaded "$missed"
check "the caller has the new limit" inlined 8
check "the function behind the pointer has it" pointer 8

check "kpatch unload succeeds" kpatch unload "$module"
check "the caller is as before" inlined 3
check "the function behind the pointer is as before" pointer 3
check "nothing of the patch is left" unloaded "$module"
rmmod klp_inlined
