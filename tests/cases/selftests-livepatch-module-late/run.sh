# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

load_lp "$KO_selftest_mod_patch"
load_mod "$KO_module_klp_target"
check "the replacement answers at once" reads "selftest-mod-patch: this has been live patched" /proc/klp_target
disable_lp "$KO_selftest_mod_patch"
unload_lp "$KO_selftest_mod_patch"
check "the original answers" reads "klp_target: original" /proc/klp_target
unload_mod klp_target
