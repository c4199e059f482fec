# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

keep cmdline /proc/cmdline
load_lp "$KO_selftest_livepatch"
check "the first replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "the second function is the original" contains "MemTotal:" /proc/meminfo
load_lp "$KO_selftest_meminfo"
check "the first replacement still answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "the second replacement answers" reads "selftest-meminfo: this has been live patched" /proc/meminfo
disable_lp "$KO_selftest_meminfo"
unload_lp "$KO_selftest_meminfo"
check "the first replacement answers alone" reads "selftest-livepatch: this has been live patched" /proc/cmdline
check "the second function is the original again" contains "MemTotal:" /proc/meminfo
disable_lp "$KO_selftest_livepatch"
unload_lp "$KO_selftest_livepatch"
check "the first original answers" same "$EVIDENCE/cmdline" /proc/cmdline
