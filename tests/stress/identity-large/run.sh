# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/work.sh

module=kpatch_copies
file=$(env | sed -n "s/^KO_copies[0-9_]*=//p")

work before
check "kpatch load succeeds" kpatch load "$file" || exit
work copied
check "the answers are as before" same /tmp/before /tmp/copied
for round in 1 2 3 4 5; do work "again.$round"; done
check "and the fifth time" same /tmp/before /tmp/again.5
check "kpatch unload succeeds in the end" unload_within "$module" 3000
work after
check "the answers are as before" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
