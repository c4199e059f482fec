# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

knob=/proc/sys/kernel/overflowuid
usual=$(cat $knob)
load_mod "$KO_module_klp_callbacks_mod"
write 19 $knob
check "the patch is refused with the callback's error" refuses "No such device" insmod "$KO_selftest_callbacks"
write "$usual" $knob
check "nothing of it is left" wait_until 30 unloaded kpatch_selftest_callbacks
unload_mod klp_callbacks_mod
