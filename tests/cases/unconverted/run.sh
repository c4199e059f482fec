# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_peek_kbuild")

keep original /proc/version
check "kpatch load fails" fails kpatch load "$KO_peek_kbuild"
kpatch load "$KO_peek_kbuild" >/tmp/said 2>&1
keep said /tmp/said
check "it says that symbols were not converted" contains "not converted" /tmp/said
check "nothing is loaded" unloaded "$module"
check "the kernel is as before" same "$EVIDENCE/original" /proc/version
