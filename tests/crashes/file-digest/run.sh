# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_damaged_cmdline" || exit
cat /proc/cmdline >/tmp/seen
check "the reader is killed" test $? -gt 128
