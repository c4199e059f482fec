# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

load_lp "$KO_selftest_callbacks"
load_lp "$KO_selftest_callbacks_replace"
check "the replaced patch is gone" wait_until 30 absent $PATCHES/kpatch_selftest_callbacks
disable_lp "$KO_selftest_callbacks_replace"
unload_lp "$KO_selftest_callbacks_replace"
unload_lp "$KO_selftest_callbacks"
