# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_module_klp_freed_tables" || exit
# The memory is freed by a work item.
sleep 1
cat /proc/version >/tmp/seen
check "the reader is killed" test $? -gt 128
