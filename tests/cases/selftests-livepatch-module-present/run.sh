# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

load_mod "$KO_module_klp_target"
check "the original answers" reads "klp_target: original" /proc/klp_target
load_lp "$KO_selftest_mod_patch"
check "the replacement answers" reads "selftest-mod-patch: this has been live patched" /proc/klp_target
disable_lp "$KO_selftest_mod_patch"
unload_lp "$KO_selftest_mod_patch"
check "the original answers again" reads "klp_target: original" /proc/klp_target
unload_mod klp_target
