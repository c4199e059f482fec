# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_unexported")

keep original /proc/version
check "kpatch load succeeds" kpatch load "$KO_unexported" || exit
check "a reader that does not ignore the signal is told so" reads "SIGTERM is not ignored" /proc/version
(trap '' TERM && exec cat /proc/version) >/tmp/ignoring
check "a reader that ignores it is told so" equals "SIGTERM is ignored" "$(cat /tmp/ignoring)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original is back, byte for byte" same "$EVIDENCE/original" /proc/version
check "nothing of the patch is left" unloaded "$module"
