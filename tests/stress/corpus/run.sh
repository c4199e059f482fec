# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
. /lib/livepatch.sh
. /lib/work.sh

changes_nothing "$(env | sed -n "s/^KO_corpus[0-9_]*=//p")" 1200
