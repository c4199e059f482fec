# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_helpers")

keep original /proc/cmdline
check "the patch is loaded" kpatch load "$KO_helpers" || exit
# ENOENT is 2.
check "a file that exists opens, one that does not is an error, and the values are those that were written" \
	contains "0 -2 true 1 3" /proc/cmdline
check "the list has its order, and the bytes have their values" contains "312 32 300 true" /proc/cmdline
check "it is unloaded" kpatch unload "$module"
check "the original answers" same "$EVIDENCE/original" /proc/cmdline
