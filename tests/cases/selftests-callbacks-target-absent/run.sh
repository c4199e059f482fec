# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

load_lp "$KO_selftest_callbacks"
disable_lp "$KO_selftest_callbacks"
unload_lp "$KO_selftest_callbacks"
