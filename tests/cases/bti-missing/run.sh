# SPDX-License-Identifier: GPL-2.0-or-later
# That verify refuses the module is asked where it is built: there is no such artifact otherwise.
. /lib/case.sh

file=$(ls /artifacts/bti-missing/*.ko)
check "the module is there" test -s "$file"
insmod "$file"
echo "insmod ended with $?"
