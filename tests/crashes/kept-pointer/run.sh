# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_fault_thread_outlives_module" || exit
module=$(ls /sys/kernel/livepatch)
check "the patch is unloaded" kpatch unload "$module"
sleep 1
