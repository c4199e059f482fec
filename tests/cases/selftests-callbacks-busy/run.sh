# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

lp=kpatch_selftest_callbacks
load_mod "$KO_module_klp_callbacks_busy" block=1
check "the patch is loaded" insmod "$KO_selftest_callbacks" || exit
check "a task in the function holds the transition back" in_transition $lp
# One round of the core's work, which comes once a second: all but that task change over.
changed_over() {
	read -r _state </proc/self/patch_state && equals 1 "$_state"
}
check "a task that is not in it changes over" wait_until 30 changed_over
check "the transition is still held back" in_transition $lp
load_mod "$KO_module_klp_callbacks_mod"
unload_mod klp_callbacks_mod
check "it is taken back" write 0 $PATCHES/$lp/enabled
check "nothing of it is left" wait_until 30 absent $PATCHES/$lp
unload_lp "$KO_selftest_callbacks"
unload_mod klp_callbacks_busy
