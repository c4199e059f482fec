# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_ucount_reference")
right="100 rounds of 3 signals, 0 wrong"

check "the original has the limit in each round" equals "$right" "$(./queue 1001 2>&1)"
# A count is per user: root has signals of its own (SIGCHLD of the shells), these two users have none.
# The second user queues signals while the patch comes and goes.
(while [ ! -e /tmp/stop ]; do ./queue 1000; done) >/tmp/queued 2>&1 &
check "kpatch load succeeds" kpatch load "$KO_ucount_reference" || exit
check "the replacement has the limit in each round" equals "$right" "$(./queue 1001 2>&1)"
check "and again: no count is left behind" equals "$right" "$(./queue 1001 2>&1)"
check "kpatch unload succeeds" kpatch unload "$module"
check "the original has the limit in each round" equals "$right" "$(./queue 1001 2>&1)"
touch /tmp/stop
wait
check "each round beside it had the limit" equals "$right" "$(sort -u /tmp/queued)"
check "nothing of the patch is left" unloaded "$module"
