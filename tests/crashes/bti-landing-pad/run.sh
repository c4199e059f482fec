# SPDX-License-Identifier: GPL-2.0-or-later
# insmod, past kpatch: it would refuse the module.
. /lib/case.sh

check "the kernel takes the module" insmod "$KO_without_ARM64_BTI_KERNEL_ARM64_PTR_AUTH_KERNEL_cmdline" || exit
cat /proc/cmdline >/tmp/seen
echo "the reader ended with $?"
