# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

knob=/proc/sys/kernel/overflowuid
usual=$(cat $knob)
load_lp "$KO_selftest_callbacks"
write 19 $knob
check "the module is refused with the callback's error" refuses "No such device" insmod "$KO_module_klp_callbacks_mod"
write "$usual" $knob
check "the module is not there" absent /sys/module/klp_callbacks_mod
disable_lp "$KO_selftest_callbacks"
unload_lp "$KO_selftest_callbacks"
