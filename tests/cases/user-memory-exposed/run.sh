# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

check "kpatch load succeeds" kpatch load "$KO_user_memory" || exit
./expose >/tmp/exposed 2>&1
status=$?
check "the task is killed" test "$status" -gt 128
check "it got nothing" fails contains "gave its code" /tmp/exposed
