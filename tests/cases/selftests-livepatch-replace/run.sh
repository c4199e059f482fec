# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

# only <module>: there is no other patch.
only() {
	equals "$1" "$(ls $PATCHES)"
}

keep cmdline /proc/cmdline
replace=$(module_of "$KO_selftest_replace")
load_lp "$KO_selftest_livepatch"
check "the first replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
load_lp "$KO_selftest_syscall"
load_lp "$KO_selftest_callbacks"
check "three patches are active" equals 3 "$(ls $PATCHES | wc -l)"
load_lp "$KO_selftest_replace"
check "the new patch is the only one" wait_until 30 only "$replace"
check "its replacement answers" reads "selftest-meminfo: this has been live patched" /proc/meminfo
check "what the other replaced is the original" same "$EVIDENCE/cmdline" /proc/cmdline
unload_lp "$KO_selftest_callbacks"
unload_lp "$KO_selftest_syscall"
unload_lp "$KO_selftest_livepatch"
check "the new patch is unmoved by that" reads "selftest-meminfo: this has been live patched" /proc/meminfo
disable_lp "$KO_selftest_replace"
unload_lp "$KO_selftest_replace"
check "all is the original" contains "MemTotal:" /proc/meminfo
