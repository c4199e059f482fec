# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_statics")

keep original /proc/cmdline
check "the patch is loaded" kpatch load "$KO_statics" || exit
check "the variables are those of the function, and the variant returns" reads "graveyard empty: true, state 0" /proc/cmdline
check "it is unloaded" kpatch unload "$module"
check "the original answers" same "$EVIDENCE/original" /proc/cmdline
