# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/work.sh

file=$(env | sed -n "s/^KO_corpus[0-9_]*=//p")
module=$(module_of "$file")

work before
check "kpatch load succeeds" kpatch load "$file" || exit
check "it is in force" settled "$module"
work changed
check "the answers are as before" same /tmp/before /tmp/changed
for round in 1 2 3 4 5; do work "again.$round"; done
check "and the fifth time" same /tmp/before /tmp/again.5
check "kpatch unload succeeds in the end" unload_within "$module" 1200
work after
check "the answers are as before" same /tmp/before /tmp/after
check "nothing of the patch is left" unloaded "$module"
