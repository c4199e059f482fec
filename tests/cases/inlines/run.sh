# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_inlines")

keep original /proc/version
check "kpatch load succeeds" kpatch load "$KO_inlines" || exit
check "what the headers' functions and macros give is there" \
	reads "1000/7 is 142 and 6/7, init is 1, GFP_KERNEL is 0xcc0, TASK_COMM_LEN is 16" /proc/version
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/version
check "nothing of the patch is left" unloaded "$module"
