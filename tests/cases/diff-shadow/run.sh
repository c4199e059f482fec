# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh

module=$(module_of "$KO_diff_shadow")

# reads: how often one process has read its own status, three times.
reads() {
	sh -c 'for i in 1 2 3; do sed -n "s/^Reads:.//p" /proc/$$/status; done' | tr '\n' ' '
}

hostname before
check "before: a status has no such line" equals "" "$(reads)"
check "kpatch load succeeds" kpatch load "$KO_diff_shadow" || exit
check "each process has its own count" equals "1 2 3 " "$(reads)"
check "and the next one, too" equals "1 2 3 " "$(reads)"
for i in 1 2 3 4 5 6 7 8 9 10; do reads >/dev/null; done
check "the system call refuses what the diff refuses" equals "Numerical argument out of domain" "$(hostname -- -x 2>&1 | sed 's/.*: //')"
check "the name is as it was" equals before "$(hostname)"
check "it takes other names" hostname other
check "which are there" equals other "$(hostname)"
check "kpatch unload succeeds" kpatch unload "$module"
check "a status has no such line again" equals "" "$(reads)"
check "the system call takes the name again" hostname -- -x
check "which is there" equals -x "$(hostname)"
check "nothing of the patch is left" unloaded "$module"
