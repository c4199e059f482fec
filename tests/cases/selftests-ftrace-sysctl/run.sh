# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

switch=/proc/sys/kernel/ftrace_enabled
keep cmdline /proc/cmdline
check "ftrace is switched off" write 0 $switch
check "a patch is refused" refuses "Device or resource busy" insmod "$KO_selftest_livepatch"
check "nothing of it is left" wait_until 30 unloaded kpatch_selftest_livepatch
check "ftrace is switched on" write 1 $switch
load_lp "$KO_selftest_livepatch"
check "the replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "ftrace cannot be switched off now" fails_with 1 write 0 $switch
check "it is on" reads 1 $switch
check "the replacement still answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
disable_lp "$KO_selftest_livepatch"
unload_lp "$KO_selftest_livepatch"
check "the original answers" same "$EVIDENCE/cmdline" /proc/cmdline
