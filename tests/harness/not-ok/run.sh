# SPDX-License-Identifier: GPL-2.0-or-later
. /lib/case.sh
check "this holds" true
echo "not ok 3 livepatch: something else # exit=1"
printf "a program's progress..."
check "this does not hold" false
true
