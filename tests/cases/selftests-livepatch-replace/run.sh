# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

keep cmdline /proc/cmdline
replace=$(module_of "$KO_selftest_replace")
load_lp "$KO_selftest_livepatch"
check "the first replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
load_lp "$KO_selftest_replace"
check "the replaced patch is gone" wait_until 30 absent $PATCHES/kpatch_selftest_livepatch
check "the new patch is the only one" equals "$replace" "$(ls $PATCHES)"
check "its replacement answers" reads "selftest-meminfo: this has been live patched" /proc/meminfo
check "what the other replaced is the original" same "$EVIDENCE/cmdline" /proc/cmdline
unload_lp "$KO_selftest_livepatch"
check "the new patch is unmoved by that" reads "selftest-meminfo: this has been live patched" /proc/meminfo
disable_lp "$KO_selftest_replace"
unload_lp "$KO_selftest_replace"
check "all is the original" contains "MemTotal:" /proc/meminfo
