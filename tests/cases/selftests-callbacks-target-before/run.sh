# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

load_mod "$KO_module_klp_callbacks_mod"
load_lp "$KO_selftest_callbacks"
disable_lp "$KO_selftest_callbacks"
unload_lp "$KO_selftest_callbacks"
unload_mod klp_callbacks_mod
