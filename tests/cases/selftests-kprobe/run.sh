# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/selftest.sh

keep cmdline /proc/cmdline
load_mod "$KO_module_klp_kprobe" has_post_handler=1
check "the patch is refused" refuses "Device or resource busy" insmod "$KO_selftest_livepatch"
check "nothing of it is left" wait_until 30 unloaded kpatch_selftest_livepatch
check "the original answers" same "$EVIDENCE/cmdline" /proc/cmdline
unload_mod klp_kprobe
load_mod "$KO_module_klp_kprobe" has_post_handler=0
load_lp "$KO_selftest_livepatch"
check "the replacement answers" reads "selftest-livepatch: this has been live patched" /proc/cmdline
unload_mod klp_kprobe
disable_lp "$KO_selftest_livepatch"
unload_lp "$KO_selftest_livepatch"
