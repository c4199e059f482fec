# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "a file is there" reads "words beside run.sh" words.txt
check "a script can be run" equals "called with 3" "$(./tool.sh 3)"
check "a file of a subdirectory is there" reads "deep words" more/deep.txt
check "a file that is not in the case is missing" contains "words" other.txt
