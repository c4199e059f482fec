# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_fault_const_write" || exit
cat /proc/version >/tmp/seen
check "the reader is killed" test $? -gt 128
