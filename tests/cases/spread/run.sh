# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_spread")
file=/proc/sys/kernel/ostype

# struct ctl_table lost its member `child` in 6.5.
case $RELEASE in
6.1.*) expected="patched, with ctl_table.child" ;;
*) expected="patched, without ctl_table.child" ;;
esac

phase before
check "before: the kernel answers itself" reads Linux $file

check "kpatch load succeeds" kpatch load "$KO_spread" || exit
phase patched
check "the replacement answers, compiled for this kernel" reads "$expected" $file
check "calls go through the livepatch trampoline" redirected proc_do_uts_string

check "kpatch unload succeeds" kpatch unload "$module"
phase reverted
check "the kernel answers itself again" reads Linux $file
check "nothing of the patch is left" unloaded "$module"
