# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_fault_user_pointer" || exit
sh -c "echo hello" >/dev/null
check "the writer is killed" test $? -gt 128
