# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

lp=$KO_selftest_livepatch
keep cmdline /proc/cmdline
load_lp "$lp"
check "the replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
disable_lp "$lp"
unload_lp "$lp"
check "the original answers" same "$EVIDENCE/cmdline" /proc/cmdline
